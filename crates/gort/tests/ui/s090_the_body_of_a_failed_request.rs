//! After an error there is no body to close.

struct Response;

impl Response {
    fn close(self) {}
}

fn get() -> Result<Response, std::io::Error> {
    Err(std::io::ErrorKind::NotFound.into())
}

fn main() {
    get().close();
}
