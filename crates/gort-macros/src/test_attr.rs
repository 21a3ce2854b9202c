//! `#[gort::test]`: parses the options and wraps the function in a `#[test]`.
//!
//! The outer function keeps all attributes of the user's. It returns an exit code only if the user's
//! function returns something: libtest accepts `#[should_panic]` on functions without a result only,
//! and there a failure is a panic anyway.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, ItemFn, Lit, Result, ReturnType, Token, Type};

const ALLOWED: &str =
    "allowed are `procs = N`, `timeout = \"5s\"`, `leaks = \"allow\"` and `seed = N`";

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    Options::parse
        .parse2(args)
        .and_then(|options| wrap(&options, syn::parse2(item)?))
        .unwrap_or_else(Error::into_compile_error)
}

fn wrap(options: &Options, function: ItemFn) -> Result<TokenStream> {
    check(&function)?;
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = function;
    let name = &sig.ident;
    let Options {
        procs,
        timeout_ms,
        allow_leaks,
        seed,
    } = options;
    let procs = option(procs.map(|n| quote!(#n)));
    let timeout = option(timeout_ms.map(|ms| quote!(::core::time::Duration::from_millis(#ms))));
    let seed = option(seed.map(|n| quote!(#n)));
    let run = quote! {
        ::gort::__private::run_test(
            ::gort::__private::TestOptions {
                name: ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                procs: #procs,
                timeout: #timeout,
                allow_leaks: #allow_leaks,
                seed: #seed,
            },
            #name,
        )
    };
    let (result, call) = if returns_nothing(&sig.output) {
        (quote!(), quote!(let _ = #run;))
    } else {
        (quote!(-> ::std::process::ExitCode), run)
    };
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #result {
            #sig #block
            #call
        }
    })
}

fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if let Some(asyncness) = &sig.asyncness {
        return Err(Error::new_spanned(
            asyncness,
            "`#[gort::test]` needs no `async`: a goroutine may block; to await a future use \
             `gort::block_on(future)`",
        ));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new_spanned(&sig.inputs, "a test takes no arguments"));
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            &sig.generics,
            "a test cannot be generic",
        ));
    }
    if let Some(attr) = function
        .attrs
        .iter()
        .find(|attr| attr.path().is_ident("test"))
    {
        return Err(Error::new_spanned(
            attr,
            "`#[gort::test]` already makes this a test: remove `#[test]`",
        ));
    }
    Ok(())
}

fn returns_nothing(output: &ReturnType) -> bool {
    match output {
        ReturnType::Default => true,
        ReturnType::Type(_, result) => {
            matches!(&**result, Type::Tuple(tuple) if tuple.elems.is_empty())
        }
    }
}

fn option(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// What stands in the parentheses of `#[gort::test(...)]`.
#[derive(Debug, Default, PartialEq)]
struct Options {
    procs: Option<usize>,
    timeout_ms: Option<u64>,
    allow_leaks: bool,
    seed: Option<u64>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Options> {
        let mut options = Options::default();
        let mut seen: Vec<String> = Vec::new();
        for argument in Punctuated::<Argument, Token![,]>::parse_terminated(input)? {
            let name = argument.name.to_string();
            match name.as_str() {
                "procs" => options.procs = Some(argument.procs()?),
                "timeout" => options.timeout_ms = Some(argument.timeout_ms()?),
                "leaks" => options.allow_leaks = argument.allow_leaks()?,
                "seed" => options.seed = Some(argument.integer("seed = 7")?),
                _ => {
                    let message = format!("`{name}` is no argument of `#[gort::test]`; {ALLOWED}");
                    return Err(Error::new_spanned(argument.name, message));
                }
            }
            if seen.contains(&name) {
                return Err(Error::new_spanned(
                    argument.name,
                    format!("`{name}` is given twice"),
                ));
            }
            seen.push(name);
        }
        Ok(options)
    }
}

/// One `name = value`.
struct Argument {
    name: Ident,
    value: Expr,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Argument> {
        let name: Ident = input.parse().map_err(|error| {
            Error::new(error.span(), format!("expected an argument; {ALLOWED}"))
        })?;
        if !input.peek(Token![=]) {
            return Err(Error::new(
                name.span(),
                format!("`{name}` needs a value; {ALLOWED}"),
            ));
        }
        input.parse::<Token![=]>()?;
        Ok(Argument {
            name,
            value: input.parse()?,
        })
    }
}

impl Argument {
    fn procs(&self) -> Result<usize> {
        match self.integer("procs = 4")? {
            0 => Err(self.error("`procs` must be at least 1")),
            n => Ok(n),
        }
    }

    fn timeout_ms(&self) -> Result<u64> {
        let Some(text) = self.string() else {
            return Err(self.expected("timeout = \"5s\""));
        };
        parse_duration_ms(&text).ok_or_else(|| {
            self.error(&format!(
                "{text:?} is no length of time: write a whole number above 0 and `ms`, `s` or \
                 `m`, as in \"5s\""
            ))
        })
    }

    fn allow_leaks(&self) -> Result<bool> {
        match self.string().as_deref() {
            Some("allow") => Ok(true),
            _ => {
                Err(self.error("`leaks` takes `\"allow\"` only; without it a leak fails the test"))
            }
        }
    }

    fn integer<N>(&self, example: &str) -> Result<N>
    where
        N: std::str::FromStr,
        N::Err: std::fmt::Display,
    {
        match &self.value {
            Expr::Lit(expr) => match &expr.lit {
                Lit::Int(int) => int.base10_parse(),
                _ => Err(self.expected(example)),
            },
            _ => Err(self.expected(example)),
        }
    }

    fn string(&self) -> Option<String> {
        match &self.value {
            Expr::Lit(expr) => match &expr.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        }
    }

    fn expected(&self, example: &str) -> Error {
        self.error(&format!("expected a literal, as in `{example}`"))
    }

    fn error(&self, message: &str) -> Error {
        Error::new_spanned(&self.value, message)
    }
}

/// Reads "250ms", "5s" or "2m".
fn parse_duration_ms(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).filter(|&ms| ms > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &str) -> std::result::Result<Options, String> {
        Options::parse
            .parse_str(args)
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_refused(args: &str, text: &str) {
        let error = options(args).expect_err(args);
        assert!(error.contains(text), "{text:?} is not in {error:?}");
    }

    fn expand_str(args: &str, item: &str) -> String {
        let expansion = expand(args.parse().unwrap(), item.parse().unwrap());
        syn::parse2::<syn::File>(expansion.clone()).expect("the expansion is not a list of items");
        expansion.to_string()
    }

    #[test]
    fn no_arguments_are_the_defaults() {
        assert_eq!(options(""), Ok(Options::default()));
    }

    #[test]
    fn every_argument_is_read() {
        let expected = Options {
            procs: Some(4),
            timeout_ms: Some(5_000),
            allow_leaks: true,
            seed: Some(7),
        };
        assert_eq!(
            options(r#"procs = 4, timeout = "5s", leaks = "allow", seed = 7,"#),
            Ok(expected)
        );
    }

    #[test]
    fn an_unknown_argument_is_told_the_allowed_ones() {
        assert_refused("threads = 4", "`threads` is no argument");
        assert_refused("threads = 4", ALLOWED);
        assert_refused("procs", ALLOWED);
        assert_refused("4", ALLOWED);
    }

    #[test]
    fn bad_values_are_refused() {
        assert_refused("procs = 0", "at least 1");
        assert_refused("procs = \"4\"", "procs = 4");
        assert_refused("procs = -1", "procs = 4");
        assert_refused("timeout = 5", "timeout = \"5s\"");
        assert_refused("timeout = \"soon\"", "no length of time");
        assert_refused("leaks = \"deny\"", "\"allow\"");
        assert_refused("seed = 1.5", "seed = 7");
        assert_refused("seed = 99999999999999999999", "too large");
        assert_refused("seed = 1, seed = 2", "given twice");
    }

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        assert_eq!(parse_duration_ms("250ms"), Some(250));
        assert_eq!(parse_duration_ms("5s"), Some(5_000));
        assert_eq!(parse_duration_ms("2m"), Some(120_000));
        for bad in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1h",
            "5 s",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert_eq!(parse_duration_ms(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_test_without_result_stays_without() {
        let expansion = expand_str(
            "seed = 7",
            "#[should_panic(expected = \"x\")] fn t() { body() }",
        );
        let expected = quote! {
            #[::core::prelude::v1::test]
            #[should_panic(expected = "x")]
            fn t() {
                fn t() { body() }
                let _ = ::gort::__private::run_test(
                    ::gort::__private::TestOptions {
                        name: ::core::concat!(::core::module_path!(), "::", ::core::stringify!(t)),
                        procs: ::core::option::Option::None,
                        timeout: ::core::option::Option::None,
                        allow_leaks: false,
                        seed: ::core::option::Option::Some(7u64),
                    },
                    t,
                );
            }
        };
        assert_eq!(expansion, expected.to_string());
    }

    #[test]
    fn a_result_becomes_an_exit_code() {
        let expansion = expand_str("procs = 2", "fn t() -> Result<(), E> { body() }");
        let functions = "fn t () -> :: std :: process :: ExitCode { \
                         fn t () -> Result < () , E > { body () }";
        assert!(expansion.contains(functions), "{expansion}");
        assert!(expansion.contains("Some (2usize)"), "{expansion}");
        assert!(
            !expansion.contains("let _"),
            "the exit code must be returned: {expansion}"
        );
    }

    #[test]
    fn an_empty_tuple_is_no_result() {
        let expansion = expand_str("", "#[should_panic] fn t() -> () { body() }");
        assert!(
            expansion.contains("fn t () { fn t () -> () { body () }"),
            "{expansion}"
        );
    }

    #[test]
    fn what_cannot_be_a_test_is_refused() {
        for (item, text) in [
            ("async fn t() {}", "gort::block_on"),
            ("fn t(x: u8) {}", "no arguments"),
            ("fn t<T>() {}", "generic"),
            ("#[test] fn t() {}", "remove `#[test]`"),
            ("struct T;", "expected"),
        ] {
            let expansion = expand_str("", item);
            assert!(
                expansion.starts_with(":: core :: compile_error"),
                "{item}: {expansion}"
            );
            assert!(expansion.contains(text), "{item}: {expansion}");
        }
    }
}
