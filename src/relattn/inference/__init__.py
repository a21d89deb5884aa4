"""Uses of trained networks: loading, embedding, searching, verifying, inspecting data, drawing figures."""
