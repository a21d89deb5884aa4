"""A trained network in use: loaded, embedding, searching, verifying, inspecting data, drawing figures."""
