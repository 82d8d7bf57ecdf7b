"""The parts, in order of worth."""

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
    Part("ceilings", 25, ceilings.measure, "what the card can do at all"),
    Part("steps", 85, steps.measure, "images/s at 8 to 128, eager and as a CUDA graph"),
    Part("passes", 60, passes.measure, "the pipeline's share of that, and the textbook's figure"),
    Part("tests", 65, marked.measure, "whether the tests marked gpu pass"),
    Part("auto", 60, searches.measure_auto, "a search with gpu: auto"),
    Part("compiled", 85, steps.measure_compiled, "the same sizes compiled, alone and in a graph"),
    Part("at-once", 70, at_once.measure, "1, 2, 4 and 8 trainings, without and with MPS"),
    Part("memory", 35, searches.measure_memory_short, "out of memory, and the second try"),
    Part("kernels", 20, kernels.measure, "the kernels of a step, by time"),
    Part("unsearched", 20, steps.measure_unsearched, "what cuDNN's search brings"),
    Part("switches", 40, switched.measure, "what fewer casts and fused blocks bring"),
    Part("deconv", 15, deconvolution.measure, "transposed convolutions, two ways"),
)
