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
        "roofline",
        "The most operations a second that a chip’s elements, and the bytes its memory brings, "
        "allow.",
    ),
)
