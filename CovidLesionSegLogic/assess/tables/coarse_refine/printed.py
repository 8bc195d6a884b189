"""The paper's numbers as printed, slips included (Huang et al., IET Image Processing 2022)."""

from __future__ import annotations

PAPER = "Huang et al., IET Image Processing 2022, doi:10.1049/ipr2.12278"
SCHEDULE = (
    "Adam, 3e-4, batches of 8, up to 200 epochs of 15,060 images of 512 pixels (five variants of "
    "3,012), early stopping; five folds; NVIDIA card of 11 GB"
)
IMAGES_SEEN = 200 * 15_060
"""At most, in one fold."""

CLASSES = {
    "ground-glass opacity": "GGO",
    "consolidation": "Consolidation",
    "fibrosis": "Fibrosis",
}
"""Our names of the lesion classes to the paper's."""

LABELS = {
    "COVID-19": "COVID-19",
    "healthy": "Healthy people",
    "healthy people": "Healthy people",
    "bacterial pneumonia": "Bacterial pneumonia",
    "viral pneumonia": "Typical viral pneumonia",
    "typical viral pneumonia": "Typical viral pneumonia",
}
"""Labels that a table may use to the headings of Table 2."""

# Persons, CT slices; lesions in all.
TABLE_1 = {
    "mild": ("51", "152"),
    "moderate": ("75", "374"),
    "severe": ("100", "534"),
    "total": ("226", "1060"),
}
LESIONS = {"Fibrosis": "700", "Consolidation": "895", "GGO": "3103"}
TABLE_2 = {
    "COVID-19": ("539", "3391"),
    "Healthy people": ("78", "582"),
    "Bacterial pneumonia": ("100", "504"),
    "Typical viral pneumonia": ("219", "2159"),
}
# Persons, CT slices, then lesions as LESIONS has them.
TABLE_3 = {
    "training": ("158", "704", "430", "622", "2087"),
    "validation": ("22", "127", "82", "88", "311"),
    "test": ("46", "229", "188", "185", "705"),
    "total": ("226", "1060", "700", "895", "3103"),
}
# Dice, pixel precision, pixel recall.
TABLE_4 = {
    ("U-Net", "Fibrosis"): ("0.833", "0.897", "0.851"),
    ("U-Net", "Consolidation"): ("0.735", "0.844", "0.787"),
    ("U-Net", "GGO"): ("0.780", "0.805", "0.822"),
    ("U-Net++", "Fibrosis"): ("0.879", "0.919", "0.899"),
    ("U-Net++", "Consolidation"): ("0.820", "0.873", "0.862"),
    ("U-Net++", "GGO"): ("0.829", "0.850", "0.897"),
    ("Ours", "Fibrosis"): ("0.901", "0.934", "0.940"),
    ("Ours", "Consolidation"): ("0.864", "0.872", "0.913"),
    ("Ours", "GGO"): ("0.860", "892", "0.910"),
}
TABLE_5 = {"Fibrosis": "1.2e-5", "Consolidation": "9.0e-3", "GGO": "3.1e-4"}
# Accuracy, recall, precision, F1.
TABLE_6 = {
    "Encoder of segmentation": ("0.983", "0.987", "0.974", "0.980"),
    "SE-ResNet34": ("0.875", "0.889", "0.806", "0.846"),
}
FRIEDMAN = {"Encoder of segmentation": "0.308", "SE-ResNet34": "1.463"}
# Dice, classification accuracy; rows by their place.
TABLE_7 = (("0.793", "0.933"), ("0.817", "0.950"), ("0.850", "0.961"), ("0.870", "0.983"))

SLIPS_4 = (
    "The paper prints the pixel precision of its own network on ground-glass opacity as 892; 0.892 "
    "must be meant.",
    "The paper prints no IoU although it defines one (equation 3), and says that its network is "
    "best in every column; its U-Net++ has the higher pixel precision on consolidation (0.873 "
    "against 0.872).",
    "The printed Dice of U-Net on fibrosis (0.833) is below both its precision (0.897) and its "
    "recall (0.851): possible for means over images, not for pooled pixels.",
)
SLIPS_6 = (
    "The paper does not say which class counts as positive. With COVID-19 patients (539 of 936) as "
    "positive, recall 0.987 and precision 0.974 would give an accuracy of about 0.977, not the "
    "printed 0.983; with non-COVID as positive they fit. Its numbers therefore stand beside both.",
    "The paper compares its Friedman statistics with 59.97; the critical value at one degree of "
    "freedom is 3.841.",
)
