"""The words of a report, for readers who were not there."""

GLOSSARY = (
    (
        "ε, δ",
        "Differential privacy: with one record (or one client) more or less, no outcome becomes "
        "more "
        "than e^ε times as likely, save with probability δ. Smaller is more private; ε = 0 tells "
        "nothing.",
    ),
    (
        "spent, promised",
        "Promised is what training was not to exceed. Spent is what the ledgers of the devices "
        "add up "
        "to, the greatest over clients.",
    ),
    (
        "AUC",
        "The chance that an attack ranks a record that was trained on above one that was not. "
        "0.5 is "
        "a guess, 1 is certainty.",
    ),
    (
        "found at 1 % false",
        "The share of members that an attack names when it wrongly names 1 % of strangers. It "
        "tells "
        "of those who are exposed most, whom an average hides.",
    ),
    (
        "canaries",
        "Records made to be found, each put in or left out by a coin. How many are told apart "
        "proves "
        "a lower bound on ε.",
    ),
    (
        "stranger",
        "A record, or an image, of the same kind that was not trained on: the control of every "
        "attack.",
    ),
    ("PSNR, SSIM", "How alike two images are: 1 in SSIM, and infinity in PSNR, is the same image."),
    (
        "recall, precision, F1",
        "Of the records of a class, the share that is told as it; of those told as it, the share "
        "that is; and the harmonic mean of both. Balanced accuracy is the mean recall of classes, "
        "macro F1 their mean F1.",
    ),
    (
        "AUROC, average precision, mAP",
        "How well what a model says puts records of a class, or with a label, before others: the "
        "chance that one is before another; the mean precision over its records; and the mean of "
        "that over labels.",
    ),
    (
        "R2",
        "The share of a number’s spread that the model knows: 1 is all, 0 no more than the mean.",
    ),
    (
        "roofline",
        "The most operations a second that a chip’s elements, and the bytes its memory brings, "
        "allow.",
    ),
)
