"""Vendor tools: their reports (``parse``), how they are run (``runner``) and what they are asked to do (``vendor``)."""
