"""What the paper reports about alignment, as reference rows; none of it was measured by this project."""

from __future__ import annotations

from ucbench.align.report_record import Reported, ReportedFigures

#: Alignment accuracy on the test split, 1-SelfBLEU of its answers, mean of MME and LLaVABench.
PAPER = Reported(
    source="Qu, Backes, Zhang, USENIX Security 2025 (arXiv 2507.11155)",
    model="LLaVA-1.5-7B on UnsafeConcepts",
    methods={
        "original": ReportedFigures(alignment_accuracy=0.736, general_ability=0.708),
        "sft": ReportedFigures(alignment_accuracy=0.977, diversity=0.076, general_ability=0.558),
        "dpo": ReportedFigures(alignment_accuracy=0.648, general_ability=0.656),
        "ppo": ReportedFigures(alignment_accuracy=0.903, diversity=0.221, general_ability=0.687),
    },
)
