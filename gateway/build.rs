//! Guarantee: what `vite build` made last is what the next build embeds; a missing `web/dist` is no error.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../web/dist");
}
