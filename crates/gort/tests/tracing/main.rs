//! Feature `tracing`: the registry does what tracing-subscriber's does, and for any number of goroutines.

mod layers;
mod many;
mod oracle;
mod recorder;
mod spans;
mod stock;
