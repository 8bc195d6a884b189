"""The stages of a run in words, for bars and panels."""

STAGE_NAMES = {
    "studies": "Studies",
    "find": "Asking the archive",
    "fetch": "Fetching images",
    "handover": "Handing the CT over",
    "scan": "Looking through the files",
    "read": "Reading the CT",
    "load": "Loading the model",
    "lungs": "Finding the lungs",
    "segment": "Segmenting lesions",
    "quantify": "Measuring",
    "write": "Writing files",
    "phantom": "Making the sample CT",
    "check": "Checking the files",
    "evaluate": "Evaluating",
    "train": "Training",
    "features": "Training the gate",
}
