"""Top-1 accuracy on the validation split, a fraction."""

from nas.metrics.base import METRICS, Metric

METRICS.add("accuracy")(
    Metric(
        "accuracy",
        direction="max",
        known="training",
        heading="accuracy %",
        axis="validation accuracy (%)",
        text=lambda value: f"{100 * value:.2f}",
        unit="%",
    )
)
