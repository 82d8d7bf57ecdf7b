"""The parts, in order of worth. The last three have hardly time of their own: they take what the
others leave."""

from bench.gpu import (
    at_once,
    ceilings,
    deconvolution,
    kernels,
    marked,
    passes,
    searches,
    steps,
    switched,
)
from bench.gpu.running import Part

PARTS = (
    Part("ceilings", 20, ceilings.measure, "what the card can do at all"),
    Part("steps", 80, steps.measure, "images/s at 8 to 128, eager and as a CUDA graph"),
    Part("passes", 50, passes.measure, "the pipeline's share of that, and the textbook's figure"),
    Part("tests", 100, marked.measure, "whether the tests marked gpu pass"),
    Part("auto", 100, searches.measure_auto, "a search with gpu: auto"),
    Part("compiled", 75, steps.measure_compiled, "the same sizes compiled, alone and in a graph"),
    Part("at-once", 55, at_once.measure, "1, 2, 4 and 8 trainings, without and with MPS"),
    Part("memory", 40, searches.measure_memory_short, "out of memory, and the second try"),
    Part("kernels", 35, kernels.measure, "the kernels of a step, by time"),
    Part("unsearched", 9, steps.measure_unsearched, "what cuDNN's search brings"),
    Part("deconv", 8, deconvolution.measure, "transposed convolutions, two ways"),
    Part("switches", 8, switched.measure, "what fewer casts and fused blocks bring"),
)
