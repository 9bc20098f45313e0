//! Escape attempts, one per class of past attack, under `tests/`.
