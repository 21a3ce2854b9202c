//! Looking at goroutines: their stacks, while they wait, while they are woken, and when a program dies.

mod dying;
mod stacks;
mod stress;
