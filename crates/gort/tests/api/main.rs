//! The public API, area by area.

mod go;
mod macros;
