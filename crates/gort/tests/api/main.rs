//! The public API, area by area.

mod edges;
mod go;
mod macros;
mod panics;
mod traits;
mod yielding;
