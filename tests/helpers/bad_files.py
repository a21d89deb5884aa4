"""The catalogue's second half: files that are missing, damaged, or not what they should be; see `bad_inputs`."""

from bad_inputs import Case

R_COPY = "{R} --data.root data"
MANIFEST = "{R} --data Manifest --data.manifest people.csv"

DATA = (
    Case("no root", "{C} --data.root nowhere", r"CIFAR10 was not found.*relattn data make cifar10 --root .*nowhere"),
    Case("empty root", "{R} --data.root data", r"Market-1501 was not found.*bounding_box_train", "empty_root"),
    Case("root in a file", "{S} --data.root file.txt", r"Cityscapes was not found", "text"),
    Case(
        "faces nowhere",
        "{F} --data.root nowhere --data.verification_sets null",
        r"A verification set of faces was not found.*relattn data make faces",
    ),
    Case("half a set", R_COPY, r"is incomplete: query missing. Unpack", "no_queries"),
    Case("half of CIFAR", "{C} --data.root data", r"is incomplete: data_batch_3 missing", "half_cifar"),
    Case("labels not unpacked", "{S} --data.root data", r"has leftImg8bit and no gtFine", "no_labels"),
    Case("an image without labels", "{S} --data.root data", r"1 of 8 images have no labels: ", "one_label_less"),
    Case("empty query", R_COPY, r"there is no query image", "empty_queries"),
    Case("name without an identity", R_COPY, r"portrait.jpg: the file name does not give the identity", "unnamed"),
    Case("camera that there is not", R_COPY, r"the camera is 9, but Market-1501 has cameras 1 to 6", "ninth_camera"),
    Case(
        "identity of one image",
        R_COPY,
        r"1 training identities have one image.*--data.single_image_identities drop",
        "one_image",
    ),
    Case("one image", "{F} --data.root data", r"batch_size is 16, and the training set has 1 images", "one_face"),
    Case("batch too large", "{S} --data.batch_size 100", r"batch_size is 100, and the training set has 8 images"),
    Case("too many identities", "{R} --data.batch_size 128", r"has 32 identities, and the training set has 12"),
    Case("indivisible batch", "{R} --data.batch_size 30", r"batch_size is 30, expected a multiple of images_per"),
    Case("too much validation", "{C} --data.validation 200", r"validation is 200, but there are only 200"),
    Case("unknown version", "{R} --data MSMT17 --data.version 3", r"--data.version is '3', expected 1 or 2"),
    Case("unknown set", "{F} --data.verification_sets [lfww]", r"the verification set 'lfww' was not found"),
    Case("no classes", "{S} --data Folders --data.classes []", r"there are 0 classes, expected 1 to 254"),
    Case("labels out of range", "{S} --data.root data", r"_labelIds.png: .* pixels have the label 99", "label_99"),
    Case(
        "labels of another size", "{S} --data.root data", r"labelIds.png is 32 x 32 pixels.*its image", "small_labels"
    ),
    Case(
        "coloured labels",
        "{S} --data.root data",
        r"has 3 channels that differ .*, and a label image has one",
        "coloured",
    ),
    Case("class out of range", "{C} --data.root data", r"data_batch_1: a label is 10, expected", "class_10"),
    Case(
        "pickle with code",
        "{C} --data.root data",
        r"data_batch_1.*asks for .*mkdir, which is not data",
        "hostile_cifar",
    ),
    Case("set with code", "{F} --data.root data", r"lfw.bin.*asks for .*mkdir, which is not data", "hostile_pack"),
    Case("odd set", "{F} --data.root data", r"lfw.bin has 3 images, an odd number", "odd_pack"),
    Case("half a set of pairs", "{F} --data.root data", r"lfw.bin cannot be read as pickled data", "half_pack"),
)

IMAGES = (
    Case("truncated", R_COPY, r"1 of the .*_c\d.*\(cut off before its end\)", "truncated"),
    Case("of no bytes", R_COPY, r"1 of the .*_c\d.*\(empty\)", "empty_image"),
    Case("text", R_COPY, r"1 of the .*_c\d.*\(not an image that OpenCV or Pillow reads", "text_image"),
    Case("truncated street", "{S} --data.root data", r"1 of the .*png \(cut off before its end\)", "truncated_street"),
    Case(
        "truncated face", "{F} --data.root data", r"faces/train cannot.*g \(cut off before its end\)", "truncated_face"
    ),
    Case(
        "undecodable, met in training",
        R_COPY + " --data.check_files false",
        r"_c\d.*cannot be decoded as an",
        "text_images",
    ),
    Case(
        "faces, met in training",
        "{F} --data.root data --data.check_files false",
        r"train/.*cannot be dec",
        "text_faces",
    ),
    Case(
        "streets, met in training",
        "{S} --data.root data --data.check_files false",
        r"Img8bit.png can.*be",
        "text_streets",
    ),
    Case(
        "truncated, met by the check",
        "data check --data Market1501 --data.root data",
        r"1 images.*_c\d.*cut",
        "truncated",
    ),
    Case("grey inside", "data check --data Market1501 --data.root data", r"1 images.*damaged: .*premature end", "grey"),
    Case("labels, met by the check", "data check --data Cityscapes --data.root data", r"have the label 99", "label_99"),
    Case("face, met by the check", "data check --data Faces --data.root data", r"train/.*cut off", "truncated_face"),
)

MANIFESTS = (
    Case("missing", MANIFEST, r"people.csv: no such file"),
    Case("not named", "{R} --data Manifest", r"--data.manifest is not given"),
    Case("empty", MANIFEST, r"line 1: no column path, identity, split", "manifest_empty"),
    Case("without a column", MANIFEST, r"line 1: no column identity", "manifest_column"),
    Case("of rows too short", MANIFEST, r"line 2: 2 entries, but the header has 4", "manifest_short"),
    Case("of an unknown split", MANIFEST, r"line 2: split is 'trian', expected .* Closest: train", "manifest_split"),
    Case("of absolute paths", MANIFEST, r"line 2: path is '/a.jpg'. Write a path relative to", "manifest_absolute"),
    Case("that leads out", MANIFEST, r"line 2: path is '../a.jpg'. Write a path relative to", "manifest_upwards"),
    Case("with a row twice", MANIFEST, r"line 3: a.jpg is in split train already, on line 2", "manifest_twice"),
    Case("of files not there", MANIFEST, r"2 images are not in .*a.jpg \(line 2\)", "manifest_absent"),
    Case("in Latin-1", MANIFEST, r"people.csv cannot be read as CSV in UTF-8", "manifest_latin"),
    Case("with open quotes", MANIFEST, r"people.csv cannot be read as CSV", "manifest_quotes"),
)

CHECKPOINTS = (
    Case("missing", "test --ckpt_path nowhere.ckpt", r"--ckpt_path nowhere.ckpt: there is no such file"),
    Case("not given", "test --task classification --data.root {cifar}", r"relattn test needs a trained network"),
    Case("of no run", "{C} --ckpt_path last", r"give --name, or the path of a checkpoint"),
    Case("folder without any", "{C} --ckpt_path data", r"data is not the folder of a run", "empty_root"),
    Case(
        "empty",
        "embed --ckpt_path a.ckpt --images {people} --out out",
        r"a.ckpt cannot be read as",
        "empty_checkpoint",
    ),
    Case(
        "half", "embed --ckpt_path a.ckpt --images {people} --out out", r"a.ckpt cannot be read as", "half_checkpoint"
    ),
    Case("with code", "export --ckpt_path a.ckpt --format torch", r"a.ckpt cannot be read as", "hostile_checkpoint"),
    Case(
        "of something else",
        "export --ckpt_path a.ckpt --format torch",
        r"a.ckpt is not a checkpoint of `relattn f",
        "weights",
    ),
    Case(
        "of another task",
        "verify {face} {face} --ckpt_path a.ckpt",
        r"a.ckpt is of the task classification, whose",
        "classifier",
    ),
    Case(
        "of another program",
        "test --task classification --data CIFAR10 --data.root {cifar} --ckpt_path a.ckpt",
        r"a.ckpt is not a checkpoint of `relattn f",
        "classifier",
    ),
    Case(
        "of another network",
        "test --task classification --data CIFAR10 --data.root {cifar} --backbone resnet14 --ckpt_path a.ckpt",
        r"a.ckpt does not fit the requested network.*Missing key",
        "lightning_s",
    ),
    Case("weights that are none", "{C} --model.pretrained file.txt", r"pretrained='.*file.txt' cannot be read", "text"),
)

COMMANDS = (
    Case("unknown format", "export --ckpt_path a.ckpt --format tflite", r"invalid choice: 'tflite'"),
    Case("unknown figure", "figures --ckpt_path a.ckpt --figure mask", r"mask", "classifier"),
    Case("missing sweep", "sweep nowhere.yaml", r"nowhere.yaml: there is no such sweep file"),
    Case("unknown sweep", "sweep rga_tabel1", r"no sweep 'rga_tabel1'. Closest: rga_table1"),
    Case("broken sweep", "sweep bad.yaml", r"bad.yaml cannot be read as YAML", "broken_yaml"),
    Case("report of nothing", "report data", r"no runs are in data", "empty_root"),
    Case("report of nowhere", "report nowhere", r"there is no folder nowhere"),
    Case(
        "search without a gallery",
        "search --query {people} --gallery nowhere --ckpt_path a --out o",
        r"--gallery nowh",
    ),
    Case("search without a network", "search --query {people} --gallery {people} --out o", r"with --ckpt_path"),
    Case("one face", "verify a.jpg --ckpt_path a.ckpt", r"required: IMAGE"),
    Case("faces nowhere", "verify a.jpg b.jpg --ckpt_path a.ckpt", r"a.jpg: there is no such image"),
    Case("threshold NaN", "verify {face} {face} --ckpt_path a --threshold nan", r"--threshold is nan, expected"),
    Case("template alone", "verify {face} {face} --ckpt_path a --template 112x96", r"how --landmarks align the faces"),
    Case("benchmark on a tpu", "benchmark --attention se --device tpu:0", r"--device is 'tpu:0', expected cpu, cuda"),
    Case("warm-up below 0", "benchmark --attention se --warmup -3", r"--warmup is -3, expected at least 0"),
    Case("benchmark over a file", "benchmark --attention se --json bad.yaml", r"nothing is overwritten", "broken_yaml"),
    Case("stand-in in no folder", "data make cifar100 --root /dev/null/x", r"/dev/null/x cannot be created"),
    Case("embedding in no folder", "embed --images {people} --ckpt_path a --out /dev/null/x", r"cannot be written"),
    Case("a folder as a table", "embed --images {people} --manifest {people} --ckpt_path a --out o", r"no such table"),
    Case("benchmark of nothing", "benchmark --attention rga-sc", r"no attention 'rga-sc'. Closest: rga_sc"),
    Case("parameters of nothing", "parameters --backbone resnt50", r"resnt50'. Closest: resnet50"),
    Case("stand-in for nothing", "data make cifr10 --root data", r"there is no 'cifr10'. Closest: cifar10"),
    Case("check of nothing", "data check --data CIFR10", r"no data set 'CIFR10'. Closest: CIFAR10"),
    Case("check without data", "data check", r"Choose what to run|--data"),
    Case(
        "check with a misspelling",
        "data check --data CIFAR10 --data.rot x",
        r"no option --data.rot of .* Closest: --data.root",
    ),
    Case("check of nowhere", "data check --data CIFAR10 --data.root nowhere", r"CIFAR10 was not found"),
    Case("unknown kind of list", "list nothing", r"invalid choice: 'nothing'"),
    Case("unknown demo", "demo clasification", r"no 'clasification'. Closest: classification"),
    Case("release that is none", "convert --released file.txt --out c/a.ckpt", r"file.txt cannot be read", "text"),
)
