"""The order of the site's pages, for mkdocs. A page that is named nowhere here stands under "Further"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
SECTIONS = {
    "Start": ["index", "tutorial", "guide-prometheus", "guide-kafka", "guide-postgres", "comparison"],
    "How to": [
        "files", "kafka", "parquet", "postgres", "history", "raw-events", "prometheus-only", "remote-write", "groups",
        "retraining", "shapes", "seasons", "covariates", "data", "anomalies", "explain", "alerts", "backtest",
        "recurrent", "page", "engines", "scaling", "autoscaling", "deploying", "operations", "security", "upgrading",
    ],
    "Reference": [
        "cli", "configuration", "metrics", "logs", "messages", "forms", "kinds", "api", "library", "reference",
    ],
    "Explanation": ["model", "delivery", "determinism", "accuracy", "performance", "figures", "architecture"],
}  # fmt: skip


def sections() -> dict[str, list[str]]:
    """Section -> its pages that exist; every page stands in exactly one."""
    pages = {path.stem for path in DOCS.glob("*.md")}
    found = {section: [f"{name}.md" for name in names if name in pages] for section, names in SECTIONS.items()}
    further = sorted(pages - {name for names in SECTIONS.values() for name in names})
    return found | ({"Further": [f"{name}.md" for name in further]} if further else {})


def on_config(config: Any) -> Any:
    """Called by mkdocs before it builds."""
    config["nav"] = [{section: pages} for section, pages in sections().items()]
    return config
