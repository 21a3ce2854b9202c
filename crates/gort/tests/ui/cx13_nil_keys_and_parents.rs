//! There is no nil context to begin with, and no key but a type that values can have.

use gort::context::{self, Context};

fn main() {
    let parent: Option<Context> = None;
    let _ = parent.with_cancel();
    let _ = context::background().value::<str>();
}
