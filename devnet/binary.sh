# Sets $bin to the ocm binary that the scripts beside this one run: OCM_BIN, or the release binary, built
# first. They source it with $root set to the project's folder.

bin=${OCM_BIN-}
# Nodes know every variable that begins with OCM_, and would refuse this one.
unset OCM_BIN

if [ -z "$bin" ]; then
    if ! command -v cargo >/dev/null 2>&1; then
        echo 'cargo is not found: install Rust (https://rustup.rs), or set OCM_BIN to an ocm binary' >&2
        exit 1
    fi
    cargo build --release --locked --bin ocm --manifest-path "$root/Cargo.toml"
    target=${CARGO_TARGET_DIR-"$root/target"}
    bin=$target/release/ocm
fi
if [ ! -x "$bin" ]; then
    echo "$bin is no program: set OCM_BIN to an ocm binary" >&2
    exit 1
fi
