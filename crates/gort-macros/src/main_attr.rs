//! `#[gort::main]`: checks that the function can be a main goroutine, then wraps it.
//!
//! An erroneous `main` is replaced by an empty one, so that the compiler shows our error alone and
//! not "`main` function not found" after it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    match syn::parse2(item).and_then(|function| wrap(&args, function)) {
        Ok(expansion) => expansion,
        Err(error) => {
            let error = error.into_compile_error();
            quote! { #error fn main() {} }
        }
    }
}

fn wrap(args: &TokenStream, function: ItemFn) -> Result<TokenStream> {
    check(args, &function)?;
    let ItemFn {
        attrs,
        vis,
        mut sig,
        block,
    } = function;
    sig.ident = syn::Ident::new("main", sig.ident.span());
    Ok(quote! {
        #(#attrs)*
        #vis fn main() -> ::std::process::ExitCode {
            #sig #block
            ::gort::__private::run_main(main)
        }
    })
}

fn check(args: &TokenStream, function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if !args.is_empty() {
        return Err(Error::new_spanned(
            args,
            "`#[gort::main]` takes no arguments; settings are made with `gort::Config` or the \
             environment (`GORT_PROCS`, `GORT_STACK`, ...)",
        ));
    }
    if let Some(asyncness) = &sig.asyncness {
        return Err(Error::new_spanned(
            asyncness,
            "`#[gort::main]` needs no `async`: a goroutine may block, so write `fn main()` and call \
             functions directly; to await a future use `gort::block_on(future)`",
        ));
    }
    if sig.ident != "main" {
        return Err(Error::new_spanned(
            &sig.ident,
            "`#[gort::main]` belongs on `fn main`; to run something on goroutines from elsewhere use \
             `gort::run(|| ...)`",
        ));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &sig.inputs,
            "`main` takes no arguments; those of the command line are in `std::env::args()`",
        ));
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        return Err(Error::new_spanned(
            &sig.generics,
            "`main` cannot be generic",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand_str(args: &str, item: &str) -> String {
        let expansion = expand(args.parse().unwrap(), item.parse().unwrap());
        // Whatever comes out must be items, also beside an error.
        syn::parse2::<syn::File>(expansion.clone()).expect("the expansion is not a list of items");
        expansion.to_string()
    }

    #[track_caller]
    fn assert_error(args: &str, item: &str, text: &str) {
        let expansion = expand_str(args, item);
        assert!(expansion.contains("compile_error"), "no error: {expansion}");
        assert!(expansion.contains(text), "{text:?} is not in {expansion}");
        assert!(
            expansion.ends_with("fn main () { }"),
            "no stand-in: {expansion}"
        );
    }

    #[test]
    fn the_body_is_kept_and_handed_to_the_runtime() {
        let expansion = expand_str(
            "",
            "#[allow(dead_code)] fn main() -> Result<(), E> { body()? }",
        );
        let expected = quote! {
            #[allow(dead_code)]
            fn main() -> ::std::process::ExitCode {
                fn main() -> Result<(), E> { body()? }
                ::gort::__private::run_main(main)
            }
        };
        assert_eq!(expansion, expected.to_string());
    }

    #[test]
    fn async_main_is_told_to_block() {
        assert_error("", "async fn main() { f().await }", "gort::block_on");
    }

    #[test]
    fn parameters_are_refused() {
        assert_error("", "fn main(args: Vec<String>) {}", "std::env::args()");
        assert_error("", "fn main<T>() {}", "cannot be generic");
        assert_error("", "fn main() where u8: Copy {}", "cannot be generic");
        assert_error("procs = 4", "fn main() {}", "takes no arguments");
    }

    #[test]
    fn other_items_are_refused() {
        assert_error("", "fn other() {}", "belongs on `fn main`");
        assert_error("", "struct Main;", "expected");
    }
}
