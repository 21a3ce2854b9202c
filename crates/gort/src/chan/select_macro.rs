//! The macros [`select!`] and [`select_biased!`].
//!
//! The syntax is that of `crossbeam-channel`. `__gort_select` takes the arms off the input one by
//! one, each in a single step, so that 64 of them stay within the usual recursion limit, and gives
//! each a variable and an index. Then one flat expansion evaluates the handles, in order, as the
//! scrutinee of a `match` (so that temporaries live as long as the select), makes an arm of each,
//! selects, and completes the arm that won. A send arm's value is an expression after the selection:
//! it is evaluated only if its arm wins.
//!
//! Elsewhere: what the expansion calls (`select::arms`).

/// Waits for whichever of several channel operations can go on first, and performs it.
///
/// ```text
/// select! {
///     recv(RECEIVER) -> PATTERN => BODY,
///     send(SENDER, VALUE) -> PATTERN => BODY,
///     default => BODY,                    // or default(TIMEOUT) => BODY
/// }
/// ```
///
/// The receivers and senders are evaluated first, once, from top to bottom. Then the select looks at
/// all arms at one moment. If some of them can go on, one is chosen, each with the same chance; an
/// operation on a closed channel can go on, with an error. If none can, the select waits; with
/// `default` it does not, and with `default(TIMEOUT)` no longer than that. The pattern is given the
/// result: a `Result<T, RecvError>`, or a `Result<(), SendError<T>>`. `VALUE` is evaluated only if its
/// arm is chosen. Arms that were not chosen leave no trace.
///
/// A body needs no comma after it if it is a block. `break`, `return` and `?` in it refer to what is
/// around the `select!`. At most 64 operations.
///
/// # Examples
///
/// ```
/// use gort::chan::{after, bounded, select};
/// use std::time::Duration;
///
/// let (s1, r1) = bounded(1);
/// let (s2, r2) = bounded(1);
/// s1.send("one").unwrap();
///
/// select! {
///     recv(r1) -> value => assert_eq!(value, Ok("one")),
///     recv(r2) -> _ => unreachable!("nobody has sent"),
///     recv(after(Duration::from_secs(10))) -> _ => panic!("timed out"),
/// }
///
/// select! {
///     recv(r2) -> _ => unreachable!(),
///     default => {}
/// }
///
/// let sent = select! {
///     send(s2, "two") -> result => result.is_ok(),
///     default(Duration::from_millis(10)) => false,
/// };
/// assert!(sent);
/// ```
#[macro_export]
macro_rules! select {
    ($($tokens:tt)*) => {
        {
            const _IS_BIASED: bool = false;

            $crate::__gort_select!($($tokens)*)
        }
    };
}

/// [`select!`](crate::select!), but if several arms can go on, the first of them is chosen.
///
/// # Examples
///
/// ```
/// use gort::chan::{select_biased, unbounded};
///
/// let (s1, urgent) = unbounded();
/// let (s2, ordinary) = unbounded();
/// s2.send("ordinary").unwrap();
/// s1.send("urgent").unwrap();
/// select_biased! {
///     recv(urgent) -> value => assert_eq!(value, Ok("urgent")),
///     recv(ordinary) -> _ => unreachable!(),
/// }
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($tokens:tt)*) => {
        {
            const _IS_BIASED: bool = true;

            $crate::__gort_select!($($tokens)*)
        }
    };
}

/// Parses and expands; see the module's page. Reads the constant `_IS_BIASED` of its caller.
#[doc(hidden)]
#[macro_export]
macro_rules! __gort_select {
    // ---- Expansion, once all arms are parsed.

    (@parse $labels:tt [$(
        ($arm:ident $index:tt $kind:ident $arguments:tt ($result:pat) $body:tt)
    )*] $default:tt) => {
        match ( $( $crate::__gort_select!(@handle $kind $arguments), )* ) {
            ( $( $arm, )* ) => {
                $( let mut $arm = $crate::chan::internal::$kind($arm); )*
                let _selected: usize = $crate::__gort_select!(
                    @select $default [ $( $arm.erase() ),* ]
                );
                match _selected {
                    $(
                        $index => {
                            let _result = $crate::__gort_select!(@complete $arm $kind $arguments);
                            let $result = _result;
                            $body
                        }
                    )*
                    _ => $crate::__gort_select!(@default $default),
                }
            }
        }
    };

    (@handle recv ($receiver:expr)) => { &$receiver };
    (@handle send ($sender:expr, $value:expr)) => { &$sender };

    (@complete $arm:ident recv $arguments:tt) => { $arm.finish() };
    (@complete $arm:ident send ($sender:expr, $value:expr)) => { $arm.promise().keep($value) };

    (@select [] $arms:tt) => {
        $crate::chan::internal::select($arms, _IS_BIASED)
    };
    (@select [() $body:tt] $arms:tt) => {
        $crate::chan::internal::try_select($arms, _IS_BIASED)
    };
    (@select [($timeout:expr) $body:tt] $arms:tt) => {
        $crate::chan::internal::select_timeout($arms, $timeout, _IS_BIASED)
    };

    (@default []) => { ::core::unreachable!("a select without `default` ends with an arm") };
    (@default [$timeout:tt $body:tt]) => { $body };

    // ---- Parsing: @parse [variables and indices left] [arms parsed] [default] input...

    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        recv($receiver:expr $(,)?) -> $result:pat => { $($body:tt)* }, $($rest:tt)*
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index recv ($receiver) ($result) { $($body)* })] $default $($rest)*)
    };
    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        recv($receiver:expr $(,)?) -> $result:pat => $body:expr, $($rest:tt)*
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index recv ($receiver) ($result) { $body })] $default $($rest)*)
    };
    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        recv($receiver:expr $(,)?) -> $result:pat => { $($body:tt)* } $($rest:tt)*
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index recv ($receiver) ($result) { $($body)* })] $default $($rest)*)
    };
    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        recv($receiver:expr $(,)?) -> $result:pat => $body:expr
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index recv ($receiver) ($result) { $body })] $default )
    };

    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        send($sender:expr, $value:expr $(,)?) -> $result:pat => { $($body:tt)* }, $($rest:tt)*
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index send ($sender, $value) ($result) { $($body)* })] $default $($rest)*)
    };
    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        send($sender:expr, $value:expr $(,)?) -> $result:pat => $body:expr, $($rest:tt)*
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index send ($sender, $value) ($result) { $body })] $default $($rest)*)
    };
    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        send($sender:expr, $value:expr $(,)?) -> $result:pat => { $($body:tt)* } $($rest:tt)*
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index send ($sender, $value) ($result) { $($body)* })] $default $($rest)*)
    };
    (@parse [($arm:ident $index:tt) $($labels:tt)*] [$($parsed:tt)*] $default:tt
        send($sender:expr, $value:expr $(,)?) -> $result:pat => $body:expr
    ) => {
        $crate::__gort_select!(@parse [$($labels)*]
            [$($parsed)* ($arm $index send ($sender, $value) ($result) { $body })] $default )
    };

    (@parse $labels:tt $parsed:tt $default:tt default => $($rest:tt)+) => {
        $crate::__gort_select!(@parse $labels $parsed $default default() => $($rest)+)
    };
    (@parse $labels:tt $parsed:tt [] default($($timeout:expr $(,)?)?) => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__gort_select!(@parse $labels $parsed [($($timeout)?) { $($body)* }] $($rest)*)
    };
    (@parse $labels:tt $parsed:tt [] default($($timeout:expr $(,)?)?) => $body:expr, $($rest:tt)*) => {
        $crate::__gort_select!(@parse $labels $parsed [($($timeout)?) { $body }] $($rest)*)
    };
    (@parse $labels:tt $parsed:tt [] default($($timeout:expr $(,)?)?) => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__gort_select!(@parse $labels $parsed [($($timeout)?) { $($body)* }] $($rest)*)
    };
    (@parse $labels:tt $parsed:tt [] default($($timeout:expr $(,)?)?) => $body:expr) => {
        $crate::__gort_select!(@parse $labels $parsed [($($timeout)?) { $body }] )
    };

    // ---- Mistakes.

    (@parse [] $parsed:tt $default:tt recv $($rest:tt)*) => {
        ::core::compile_error!("too many operations in a `select!` block: 64 is the limit")
    };
    (@parse [] $parsed:tt $default:tt send $($rest:tt)*) => {
        ::core::compile_error!("too many operations in a `select!` block: 64 is the limit")
    };
    (@parse $labels:tt $parsed:tt [$timeout:tt $body:tt] default($($arguments:tt)*) => $($rest:tt)*) => {
        ::core::compile_error!("there can be only one `default` case in a `select!` block")
    };
    (@parse $labels:tt $parsed:tt $default:tt $kind:ident $($arguments:tt)? -> $result:pat => { $($body:tt)* }; $($rest:tt)*) => {
        ::core::compile_error!("did you mean to put a comma instead of the semicolon after `}`?")
    };
    (@parse $labels:tt $parsed:tt $default:tt default $($arguments:tt)? -> $($rest:tt)*) => {
        ::core::compile_error!("expected `=>` after `default` case, found `->`")
    };
    (@parse $labels:tt $parsed:tt $default:tt default($($arguments:tt)*) => $($rest:tt)+) => {
        ::core::compile_error!(::core::concat!(
            "expected `default => body` or `default(timeout) => body`, separated by commas, found \
             `default(", ::core::stringify!($($arguments)*), ") => ",
            ::core::stringify!($($rest)+), "`",
        ))
    };
    (@parse $labels:tt $parsed:tt $default:tt recv($($arguments:tt)*) => $($rest:tt)*) => {
        ::core::compile_error!("expected `->` after `recv` case, found `=>`")
    };
    (@parse $labels:tt $parsed:tt $default:tt send($($arguments:tt)*) => $($rest:tt)*) => {
        ::core::compile_error!("expected `->` after `send` case, found `=>`")
    };
    (@parse $labels:tt $parsed:tt $default:tt recv $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "expected `recv(receiver) -> pattern => body`, with a comma after a body that is not a \
             block, found `recv ", ::core::stringify!($($rest)*), "`",
        ))
    };
    (@parse $labels:tt $parsed:tt $default:tt send $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "expected `send(sender, value) -> pattern => body`, with a comma after a body that is \
             not a block, found `send ", ::core::stringify!($($rest)*), "`",
        ))
    };
    (@parse $labels:tt $parsed:tt $default:tt $found:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "expected one of `recv`, `send`, or `default`, found `", ::core::stringify!($found), "`",
        ))
    };

    // ---- The way in.

    () => {
        ::core::compile_error!("empty `select!` block")
    };
    ($($tokens:tt)*) => {
        $crate::__gort_select!(
            @parse [
                (_arm0 0usize) (_arm1 1usize) (_arm2 2usize) (_arm3 3usize)
                (_arm4 4usize) (_arm5 5usize) (_arm6 6usize) (_arm7 7usize)
                (_arm8 8usize) (_arm9 9usize) (_arm10 10usize) (_arm11 11usize)
                (_arm12 12usize) (_arm13 13usize) (_arm14 14usize) (_arm15 15usize)
                (_arm16 16usize) (_arm17 17usize) (_arm18 18usize) (_arm19 19usize)
                (_arm20 20usize) (_arm21 21usize) (_arm22 22usize) (_arm23 23usize)
                (_arm24 24usize) (_arm25 25usize) (_arm26 26usize) (_arm27 27usize)
                (_arm28 28usize) (_arm29 29usize) (_arm30 30usize) (_arm31 31usize)
                (_arm32 32usize) (_arm33 33usize) (_arm34 34usize) (_arm35 35usize)
                (_arm36 36usize) (_arm37 37usize) (_arm38 38usize) (_arm39 39usize)
                (_arm40 40usize) (_arm41 41usize) (_arm42 42usize) (_arm43 43usize)
                (_arm44 44usize) (_arm45 45usize) (_arm46 46usize) (_arm47 47usize)
                (_arm48 48usize) (_arm49 49usize) (_arm50 50usize) (_arm51 51usize)
                (_arm52 52usize) (_arm53 53usize) (_arm54 54usize) (_arm55 55usize)
                (_arm56 56usize) (_arm57 57usize) (_arm58 58usize) (_arm59 59usize)
                (_arm60 60usize) (_arm61 61usize) (_arm62 62usize) (_arm63 63usize)
            ] [] [] $($tokens)*
        )
    };
}
