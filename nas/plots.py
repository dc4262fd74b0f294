"""The figures of a run, each as one function that returns a matplotlib Figure.

    import nas
    figure = nas.plots.front("results/my_run", "macs")
    figure.axes[0].set_title("CIFAR-10")
    nas.plots.save(figure, "front.pdf")

`nas report RUN --figures` writes all of them as SVG and PDF into the run's figures/.
"""

from nas.report.figures import arms, front, hypervolume, importances, learning_curves, mask, repair, save, sensitivity

__all__ = ["arms", "front", "hypervolume", "importances", "learning_curves", "mask", "repair", "save", "sensitivity"]
