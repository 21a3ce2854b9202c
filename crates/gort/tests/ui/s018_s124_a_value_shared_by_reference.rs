//! What Go's race detector finds at run time: a value changed on both sides of a `go`.

use std::collections::HashMap;

struct Request {
    id: u32,
}

fn save(request: &mut Request) {
    gort::go(|| request.id += 1);
}

fn main() {
    save(&mut Request { id: 1 });

    let mut map = HashMap::new();
    gort::go(|| map.insert(1, 1));
    map.insert(2, 2);
}
