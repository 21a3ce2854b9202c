//! One end of a channel cannot do what the other does, nor become it.

use gort::chan::{self, Receiver, Sender};

fn main() {
    let (sender, receiver) = chan::bounded::<i32>(1);
    let _ = sender.recv();
    let _ = receiver.send(1);
    let _: Sender<i32> = receiver.into();
    let _: Receiver<i32> = sender.into();
}
