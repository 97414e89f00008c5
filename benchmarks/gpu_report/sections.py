"""All sections, in the order of the report."""

from benchmarks.gpu_report import demo_training, inference, parity, throughput, training
from benchmarks.gpu_report.section import Section

SECTIONS: dict[str, Section] = {
    module.SECTION.name: module.SECTION for module in (parity, inference, throughput, training, demo_training)
}
