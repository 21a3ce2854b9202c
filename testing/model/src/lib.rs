//! Models of gort's state machines; see `tests/`. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p gort-model --release`.
