//! Looking at goroutines: their stacks, while they wait and while they are woken.

mod stacks;
mod stress;
