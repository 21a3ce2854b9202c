//! The public methods and conversions that several kinds of sockets and pipes have, each written once.
//!
//! A type that uses them is a struct with a field `fd: Arc<Fd>`; fields that it names after that one
//! have a default and are cloned with it. `docs` that differ are given by the caller.

/// `from_std`, `into_std`, `try_clone`, `set_nonblocking`, and all conversions from and to descriptors
/// and std's type.
macro_rules! descriptor_methods {
    ($name:ident { fd $(, $extra:ident)* }, std = $std:ty, kind = $kind:expr) => {
        impl $name {
            /// Takes over what is std's, and makes it non-blocking. Timeouts that a socket has by std's methods do
            /// not hold here, nor ours after [`into_std`](Self::into_std).
            ///
            /// # Errors
            ///
            /// When it cannot be made non-blocking or registered with the poller; it is closed then.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{Read, Write};
            ///
            /// use gort::net::UnixStream;
            ///
            /// let (mut theirs, std) = std::os::unix::net::UnixStream::pair()?;
            /// let mut ours = UnixStream::from_std(std)?;
            /// theirs.write_all(b"hello")?;
            /// let mut buf = [0; 5];
            /// ours.read_exact(&mut buf)?; // parks the goroutine, where std's would block its thread
            /// assert_eq!(&buf, b"hello");
            /// # std::io::Result::Ok(())
            /// ```
            pub fn from_std(std: $std) -> ::std::io::Result<$name> {
                Ok($name {
                    fd: ::std::sync::Arc::new($crate::fd::Fd::try_adopt(std.into(), $kind)?),
                    $($extra: Default::default(),)*
                })
            }

            /// Gives the descriptor back as std's, in blocking mode. If there are clones, it is a
            /// duplicate, and they keep working. But they share its mode: where who has the duplicate takes what a
            /// clone was about to (a connection, data), the clone's call sits in the kernel until more comes, and a
            /// close, a deadline or a context waits for that.
            ///
            /// # Errors
            ///
            /// `NotConnected` after [`close`](Self::close); no descriptor for a duplicate.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{Read, Write};
            ///
            /// use gort::net::UnixStream;
            ///
            /// // From a library that knows std alone, and back to it.
            /// let (mut theirs, std) = std::os::unix::net::UnixStream::pair()?;
            /// let mut ours = UnixStream::from_std(std)?;
            /// ours.write_all(b"to")?;
            /// theirs.read_exact(&mut [0; 2])?;
            /// let mut std = ours.into_std()?;
            /// theirs.write_all(b"and fro")?;
            /// drop(theirs);
            /// let mut text = String::new();
            /// std.read_to_string(&mut text)?;
            /// assert_eq!(text, "and fro");
            /// # std::io::Result::Ok(())
            /// ```
            pub fn into_std(self) -> ::std::io::Result<$std> {
                $crate::fd::Fd::give(self.fd).map(<$std>::from)
            }

            /// Another handle to the same descriptor, which shares its settings.
            ///
            /// # Errors
            ///
            /// `NotConnected` after [`close`](Self::close).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{Read, Write};
            ///
            /// use gort::net::UnixStream;
            ///
            /// let (ours, mut theirs) = UnixStream::pair()?;
            /// let mut clone = ours.try_clone()?;
            /// drop(ours); // The descriptor stays open until its last handle is dropped.
            /// clone.write_all(b"hello")?;
            /// let mut buf = [0; 5];
            /// theirs.read_exact(&mut buf)?;
            /// assert_eq!(&buf, b"hello");
            /// # std::io::Result::Ok(())
            /// ```
            pub fn try_clone(&self) -> ::std::io::Result<$name> {
                self.fd.check_open()?;
                Ok($name {
                    fd: ::std::sync::Arc::clone(&self.fd),
                    $($extra: self.$extra.clone(),)*
                })
            }

            /// With `true`, calls that would wait fail with `WouldBlock` instead, for all clones: also where
            /// they would wait for another call of their direction. One that waits already goes on. (The
            /// descriptor itself never blocks; this is about what the calls do then.)
            ///
            /// # Errors
            ///
            /// `NotConnected` after [`close`](Self::close).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{ErrorKind, Read};
            ///
            /// use gort::net::UnixStream;
            ///
            /// let (mut ours, _theirs) = UnixStream::pair()?;
            /// ours.set_nonblocking(true)?;
            /// assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            /// # std::io::Result::Ok(())
            /// ```
            pub fn set_nonblocking(&self, nonblocking: bool) -> ::std::io::Result<()> {
                self.fd.set_nonblocking(nonblocking)
            }
        }

        impl ::std::os::fd::AsFd for $name {
            /// The descriptor, which stays open while it is borrowed: if it is closed meanwhile, a
            /// socket that is connected to nothing takes its place.
            ///
            /// # Panics
            ///
            /// After a close, unless it has been borrowed before.
            #[track_caller]
            fn as_fd(&self) -> ::std::os::fd::BorrowedFd<'_> {
                self.fd.expose().expect(concat!("the descriptor of a ", stringify!($name)))
            }
        }

        impl ::std::os::fd::AsRawFd for $name {
            /// The number of the descriptor; -1 after a close. Until the handles are gone it is nobody else's.
            fn as_raw_fd(&self) -> ::std::os::fd::RawFd {
                // What is closed is not lent any more.
                self.fd.expose().ok().and_then(|_| self.fd.raw()).unwrap_or(-1)
            }
        }

        impl ::std::os::fd::IntoRawFd for $name {
            /// Gives the descriptor away, as `OwnedFd::from` does.
            ///
            /// # Panics
            ///
            /// After a close; or if there are clones and no descriptor for a duplicate.
            #[track_caller]
            fn into_raw_fd(self) -> ::std::os::fd::RawFd {
                ::std::os::fd::IntoRawFd::into_raw_fd(::std::os::fd::OwnedFd::from(self))
            }
        }

        impl ::std::os::fd::FromRawFd for $name {
            /// Takes over the descriptor, as `From<OwnedFd>` does.
            #[expect(unsafe_code, reason = "the trait is, and passes its demand on")]
            unsafe fn from_raw_fd(fd: ::std::os::fd::RawFd) -> $name {
                // SAFETY: the caller gives us an open descriptor that is nobody else's.
                $name::from(unsafe { ::std::os::fd::OwnedFd::from_raw_fd(fd) })
            }
        }

        /// Takes over the descriptor, and makes it non-blocking. What goes wrong with that is the error of
        /// the calls that follow.
        impl From<::std::os::fd::OwnedFd> for $name {
            fn from(fd: ::std::os::fd::OwnedFd) -> $name {
                $name {
                    fd: ::std::sync::Arc::new($crate::fd::Fd::adopt(fd, $kind)),
                    $($extra: Default::default(),)*
                }
            }
        }

        /// Gives the descriptor away, in blocking mode; a duplicate if there are clones.
        ///
        /// # Panics
        ///
        /// After a close; or if there are clones and no descriptor for a duplicate. `into_std` gives
        /// these as errors.
        impl From<$name> for ::std::os::fd::OwnedFd {
            #[track_caller]
            fn from(ours: $name) -> ::std::os::fd::OwnedFd {
                $crate::fd::Fd::give(ours.fd)
                    .expect(concat!("the descriptor of a ", stringify!($name)))
            }
        }

        impl TryFrom<$std> for $name {
            type Error = ::std::io::Error;

            fn try_from(std: $std) -> ::std::io::Result<$name> {
                $name::from_std(std)
            }
        }

        impl TryFrom<$name> for $std {
            type Error = ::std::io::Error;

            fn try_from(ours: $name) -> ::std::io::Result<$std> {
                ours.into_std()
            }
        }
    };
}

/// `close`, with the first line of its docs and, perhaps, the lines of an example.
macro_rules! close_method {
    ($name:ident, $first:literal $(, example = $example:literal)?) => {
        impl $name {
            #[doc = $first]
            ///
            /// Goroutines that wait in a call are woken, and get, as all later calls do, an error of the
            /// kind `NotConnected`. Returns when the last of them has let go, which depends on nobody
            /// else. Closing again is no error and does nothing.
            ///
            /// A descriptor that `as_fd` or `as_raw_fd` has lent keeps its number until the last handle is
            /// dropped: what is open there is replaced. If the process has no descriptor left for that, it stays.
            ///
            /// # Errors
            ///
            /// None today.
            $(
                ///
                /// # Examples
                ///
                #[doc = $example]
            )?
            #[track_caller]
            pub fn close(&self) -> ::std::io::Result<()> {
                self.fd.close();
                Ok(())
            }
        }
    };
}

/// A deadline for one direction: `deadline_method!(Name, set_read_deadline, Read, "reading")`.
macro_rules! deadline_method {
    ($name:ident, $method:ident, $direction:expr, $doc:literal, $alias:literal) => {
        impl $name {
            #[doc = concat!("Sets the deadline for ", $doc, "; `None` clears it. It holds for all calls to")]
            /// come and for those that wait now; past it they fail with `TimedOut`, even where they
            /// could go on. A deadline in the past takes effect at once.
            ///
            /// Other than a timeout, a deadline is not renewed by each call. If both are set, the earlier
            /// one counts.
            ///
            /// # Errors
            ///
            /// `NotConnected` after [`close`](Self::close).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{ErrorKind, Read};
            /// use std::time::{Duration, Instant};
            ///
            /// let (mut a, _b) = gort::net::unix::UnixStream::pair()?;
            /// a.set_deadline(Some(Instant::now() + Duration::from_millis(1)))?;
            /// assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            /// # std::io::Result::Ok(())
            /// ```
            #[doc(alias = $alias)]
            pub fn $method(
                &self,
                deadline: Option<::std::time::Instant>,
            ) -> ::std::io::Result<()> {
                self.fd.set_deadline($direction, deadline)
            }
        }
    };
}

/// Deadlines for both directions, and std's timeouts for each call.
macro_rules! deadline_methods {
    ($name:ident) => {
        deadline_method!($name, set_deadline, None, "both directions", "SetDeadline");
        deadline_method!(
            $name,
            set_read_deadline,
            Some(::gort_core::netpoll::Direction::Read),
            "receiving",
            "SetReadDeadline"
        );
        deadline_method!(
            $name,
            set_write_deadline,
            Some(::gort_core::netpoll::Direction::Write),
            "sending",
            "SetWriteDeadline"
        );

        impl $name {
            /// Sets how long each call that receives may take, including the wait for its turn; past it the
            /// call fails with `TimedOut` (where std says `WouldBlock`). It begins with the next call.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for zero; `NotConnected` after [`close`](Self::close).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{ErrorKind, Read};
            /// use std::time::Duration;
            ///
            /// use gort::net::UnixStream;
            ///
            /// let (mut ours, _theirs) = UnixStream::pair()?;
            /// ours.set_read_timeout(Some(Duration::from_millis(1)))?;
            /// assert_eq!(ours.read_timeout()?, Some(Duration::from_millis(1)));
            /// // Each call may take as long.
            /// assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            /// assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            /// # std::io::Result::Ok(())
            /// ```
            pub fn set_read_timeout(
                &self,
                timeout: Option<::std::time::Duration>,
            ) -> ::std::io::Result<()> {
                self.fd
                    .set_timeout(::gort_core::netpoll::Direction::Read, timeout)
            }

            /// Sets how long each call that sends may take; see
            /// [`set_read_timeout`](Self::set_read_timeout). A write that has sent a part when its time is
            /// up returns how much.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for zero; `NotConnected` after [`close`](Self::close).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{ErrorKind, Write};
            /// use std::time::Duration;
            ///
            /// use gort::net::UnixStream;
            ///
            /// let (mut ours, _theirs) = UnixStream::pair()?;
            /// ours.set_write_timeout(Some(Duration::from_millis(1)))?;
            /// // Nobody reads, so the kernel's buffers fill up.
            /// let error = loop {
            ///     if let Err(error) = ours.write(&[0; 4096]) {
            ///         break error;
            ///     }
            /// };
            /// assert_eq!(error.kind(), ErrorKind::TimedOut);
            /// # std::io::Result::Ok(())
            /// ```
            pub fn set_write_timeout(
                &self,
                timeout: Option<::std::time::Duration>,
            ) -> ::std::io::Result<()> {
                self.fd
                    .set_timeout(::gort_core::netpoll::Direction::Write, timeout)
            }

            /// The timeout of each call that receives.
            ///
            /// # Errors
            ///
            /// `NotConnected` after [`close`](Self::close).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::time::Duration;
            ///
            /// let (ours, _theirs) = gort::net::UnixStream::pair()?;
            /// assert_eq!(ours.read_timeout()?, None);
            /// ours.set_read_timeout(Some(Duration::from_secs(10)))?;
            /// assert_eq!(ours.read_timeout()?, Some(Duration::from_secs(10)));
            /// # std::io::Result::Ok(())
            /// ```
            pub fn read_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                self.fd.timeout(::gort_core::netpoll::Direction::Read)
            }

            /// The timeout of each call that sends.
            ///
            /// # Errors
            ///
            /// `NotConnected` after [`close`](Self::close).
            ///
            /// # Examples
            ///
            /// ```
            /// use std::time::Duration;
            ///
            /// let (ours, _theirs) = gort::net::UnixStream::pair()?;
            /// ours.set_write_timeout(Some(Duration::from_secs(10)))?;
            /// assert_eq!(ours.write_timeout()?, Some(Duration::from_secs(10)));
            /// assert_eq!(ours.read_timeout()?, None); // has its own
            /// # std::io::Result::Ok(())
            /// ```
            pub fn write_timeout(&self) -> ::std::io::Result<Option<::std::time::Duration>> {
                self.fd.timeout(::gort_core::netpoll::Direction::Write)
            }
        }
    };
}

/// Methods that are std's and do not wait: `asked_methods! { net::TcpStream => TcpStream { /// Docs.
/// fn ttl() -> u32, example = "…"; } }`. Their errors are all the same, and documented here.
macro_rules! asked_methods {
    ($std:ty => $name:ident { $(
        $(#[$attribute:meta])*
        fn $method:ident($($argument:ident: $type:ty),*) -> $result:ty
            $(, example = $example:literal)?;
    )+ }) => {
        impl $name { $(
            $(#[$attribute])*
            ///
            /// # Errors
            ///
            /// `NotConnected` after [`close`](Self::close); those of the system.
            $(
                ///
                /// # Examples
                ///
                #[doc = $example]
            )?
            pub fn $method(&self, $($argument: $type),*) -> ::std::io::Result<$result> {
                self.fd.ask(|std: &$std| std.$method($($argument),*))
            }
        )+ }
    };
}

/// `Read` and `Write` for a stream socket and for references to it, and `peek`.
macro_rules! stream_methods {
    ($name:ident) => {
        impl $name {
            /// Receives like `read`, but leaves the bytes for the next read.
            ///
            /// # Errors
            ///
            /// As for `read`.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::{Read, Write};
            ///
            /// use gort::net::UnixStream;
            ///
            /// let (mut ours, mut theirs) = UnixStream::pair()?;
            /// theirs.write_all(b"GET")?;
            /// let mut first = [0];
            /// ours.peek(&mut first)?;
            /// assert_eq!(&first, b"G");
            /// let mut word = [0; 3];
            /// ours.read_exact(&mut word)?;
            /// assert_eq!(&word, b"GET");
            /// # std::io::Result::Ok(())
            /// ```
            #[track_caller]
            pub fn peek(&self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                self.fd
                    .read(buf.len(), |fd| ::gort_core::os::socket::peek(fd, buf))
            }
        }

        read_methods!(
            $name,
            |stream, buf| stream
                .fd
                .read(buf.len(), |fd| ::gort_core::os::socket::recv(fd, buf)),
            |stream, bufs| {
                let len = bufs.iter().map(|buf| buf.len()).sum();
                stream
                    .fd
                    .read(len, |fd| ::gort_core::os::socket::recv_vectored(fd, bufs))
            }
        );
        write_methods!($name, |stream, buf| stream.fd.send(buf), |stream, bufs| {
            stream.fd.send_vectored(bufs)
        });
    };
}

/// `Read` for a type and for references to it, from one expression each for the two ways to read.
macro_rules! read_methods {
    (
        $name:ident,
        |$this:ident, $buf:ident| $read:expr,
        |$vectored:ident, $bufs:ident| $read_vectored:expr
    ) => {
        impl ::std::io::Read for &$name {
            #[track_caller]
            fn read(&mut self, $buf: &mut [u8]) -> ::std::io::Result<usize> {
                let $this = *self;
                $read
            }

            #[track_caller]
            fn read_vectored(
                &mut self,
                $bufs: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::io::Result<usize> {
                let $vectored = *self;
                $read_vectored
            }
        }

        read_by_reference!($name);
    };
}

/// `Write` for a type and for references to it, from one expression each for the two ways to write.
macro_rules! write_methods {
    (
        $name:ident,
        |$this:ident, $buf:ident| $write:expr,
        |$vectored:ident, $bufs:ident| $write_vectored:expr
    ) => {
        impl ::std::io::Write for &$name {
            #[track_caller]
            fn write(&mut self, $buf: &[u8]) -> ::std::io::Result<usize> {
                let $this = *self;
                $write
            }

            #[track_caller]
            fn write_vectored(
                &mut self,
                $bufs: &[::std::io::IoSlice<'_>],
            ) -> ::std::io::Result<usize> {
                let $vectored = *self;
                $write_vectored
            }

            /// Does nothing: what `write` has taken is the kernel's.
            fn flush(&mut self) -> ::std::io::Result<()> {
                Ok(())
            }
        }

        write_by_reference!($name);
    };
}

/// `Read` for a type, by that for references to it: `read_by_reference!(Name, read_to_end(Vec<u8>) -> usize)`
/// for one with a way of its own to read to the end.
macro_rules! read_by_reference {
    ($name:ident $(, $method:ident($buf:ty) -> $result:ty)*) => {
        impl ::std::io::Read for $name {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                (&*self).read(buf)
            }

            #[track_caller]
            fn read_vectored(
                &mut self,
                bufs: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::io::Result<usize> {
                (&*self).read_vectored(bufs)
            }

            $(
                #[track_caller]
                fn $method(&mut self, buf: &mut $buf) -> ::std::io::Result<$result> {
                    (&*self).$method(buf)
                }
            )*
        }
    };
}

/// `Write` for a type, by that for references to it.
macro_rules! write_by_reference {
    ($name:ident) => {
        impl ::std::io::Write for $name {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> ::std::io::Result<usize> {
                (&*self).write(buf)
            }

            #[track_caller]
            fn write_vectored(
                &mut self,
                bufs: &[::std::io::IoSlice<'_>],
            ) -> ::std::io::Result<usize> {
                (&*self).write_vectored(bufs)
            }

            #[track_caller]
            fn flush(&mut self) -> ::std::io::Result<()> {
                (&*self).flush()
            }
        }
    };
}

/// The ways to accept but `accept` itself: `accepting_methods!(TcpListener => TcpStream)`. The module has a
/// `SocketAddr`, and `Incoming` with a field `listener`, whose `next` is the one from here.
macro_rules! accepting_methods {
    ($name:ident => $stream:ident) => {
        impl $name {
            /// Accepts as [`accept`](Self::accept) does, but lives through a lack of descriptors or memory: it
            /// pauses, for 5 ms at first and twice as long each time, up to a second, and tries again.
            /// Meanwhile the connection waits in the kernel's queue.
            ///
            /// # Errors
            ///
            /// Those of [`accept`](Self::accept) that no waiting can help against.
            ///
            /// # Examples
            ///
            /// ```
            /// use gort::net::{TcpListener, TcpStream};
            ///
            /// let listener = TcpListener::bind("127.0.0.1:0")?;
            /// let client = TcpStream::connect(listener.local_addr()?)?;
            /// // When the process has no descriptor left, the client waits and is not turned away.
            /// let (_stream, peer) = listener.accept_retrying()?;
            /// assert_eq!(peer, client.local_addr()?);
            /// # std::io::Result::Ok(())
            /// ```
            #[track_caller]
            pub fn accept_retrying(&self) -> ::std::io::Result<($stream, SocketAddr)> {
                let mut pause = $crate::fd::SHORTAGE_MIN;
                loop {
                    match self.accept() {
                        Err(error) if ::gort_core::os::socket::is_exhausted(&error) => {
                            self.fd.sit_out_shortage(&mut pause)?;
                        }
                        result => return result,
                    }
                }
            }

            /// The connections as they come, by [`accept_retrying`](Self::accept_retrying). Ends when the
            /// listener is closed.
            ///
            /// # Examples
            ///
            /// ```
            /// use std::io::Write;
            ///
            /// use gort::net::{TcpListener, TcpStream};
            ///
            /// let listener = TcpListener::bind("127.0.0.1:0")?;
            /// let address = listener.local_addr()?;
            /// gort::scope(|s| {
            ///     let clients = s.go(|| {
            ///         for _ in 0..2 {
            ///             assert_eq!(std::io::read_to_string(TcpStream::connect(address)?)?, "hello");
            ///         }
            ///         listener.close()
            ///     });
            ///     for stream in listener.incoming() {
            ///         s.go(move || stream?.write_all(b"hello"));
            ///     }
            ///     clients.join().unwrap()
            /// })?;
            /// # std::io::Result::Ok(())
            /// ```
            pub fn incoming(&self) -> Incoming<'_> {
                Incoming { listener: self }
            }

            /// The next connection for an iterator; `None` once the listener is closed.
            #[track_caller]
            fn next(&self) -> Option<::std::io::Result<$stream>> {
                match self.accept_retrying() {
                    Ok((stream, _)) => Some(Ok(stream)),
                    Err(_) if self.fd.is_closed() => None,
                    Err(error) => Some(Err(error)),
                }
            }
        }
    };
}

/// The ways to receive a datagram but `recv_from` itself, which says what can go wrong. The lines `pair` are
/// for the examples: they make `ours` and `theirs`, connected to each other. `retry` is `Fd`'s way to wait.
macro_rules! receiving_methods {
    ($name:ident, retry = $retry:ident, pair = $pair:literal) => {
        impl $name {
            /// As [`recv_from`](Self::recv_from), but leaves the datagram for the next call.
            ///
            /// # Errors
            ///
            /// As for [`recv_from`](Self::recv_from).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $pair]
            /// theirs.send(b"hello")?;
            /// let mut buf = [0; 16];
            /// let (len, _sender) = ours.peek_from(&mut buf)?;
            /// assert_eq!(&buf[..len], b"hello");
            /// assert_eq!(ours.recv_from(&mut buf)?.0, len); // the same one
            /// # std::io::Result::Ok(())
            /// ```
            #[track_caller]
            pub fn peek_from(&self, buf: &mut [u8]) -> ::std::io::Result<(usize, SocketAddr)> {
                self.fd.$retry(::gort_core::netpoll::Direction::Read, |fd| {
                    ::gort_core::os::socket::peek_from(fd, buf)
                })
            }

            /// As [`recv_from`](Self::recv_from), without the sender: for a socket that is connected to one.
            ///
            /// # Errors
            ///
            /// As for [`recv_from`](Self::recv_from).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $pair]
            /// theirs.send(b"hello")?;
            /// let mut buf = [0; 16];
            /// let len = ours.recv(&mut buf)?;
            /// assert_eq!(&buf[..len], b"hello");
            /// # std::io::Result::Ok(())
            /// ```
            #[track_caller]
            pub fn recv(&self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                self.fd.$retry(::gort_core::netpoll::Direction::Read, |fd| {
                    ::gort_core::os::socket::recv(fd, buf)
                })
            }

            /// As [`recv`](Self::recv), but leaves the datagram for the next call.
            ///
            /// # Errors
            ///
            /// As for [`recv_from`](Self::recv_from).
            ///
            /// # Examples
            ///
            /// ```
            #[doc = $pair]
            /// theirs.send(b"hello")?;
            /// let mut first = [0];
            /// ours.peek(&mut first)?;
            /// assert_eq!(&first, b"h");
            /// assert_eq!(ours.recv(&mut [0; 16])?, 5); // all of it
            /// # std::io::Result::Ok(())
            /// ```
            #[track_caller]
            pub fn peek(&self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                self.fd.$retry(::gort_core::netpoll::Direction::Read, |fd| {
                    ::gort_core::os::socket::peek(fd, buf)
                })
            }
        }
    };
}

/// `Debug` with these fields in this order, which are std's: `debug_fields!(UnixStream { fd, local, peer })`.
/// An address that cannot be had, as after a close, is left out.
macro_rules! debug_fields {
    ($name:ident { $($field:ident),+ }) => {
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let mut fields = f.debug_struct(stringify!($name));
                $(debug_fields!(@field self, fields, $field);)+
                fields.finish()
            }
        }
    };
    (@field $this:ident, $fields:ident, fd) => {
        $fields.field("fd", &$this.fd.raw().unwrap_or(-1))
    };
    (@field $this:ident, $fields:ident, peer) => {
        if let Ok(address) = $this.peer_addr() {
            $fields.field("peer", &address);
        }
    };
    // The socket's own address: `addr`, or `local` where there is a peer's beside it.
    (@field $this:ident, $fields:ident, $field:ident) => {
        if let Ok(address) = $this.local_addr() {
            $fields.field(stringify!($field), &address);
        }
    };
}
