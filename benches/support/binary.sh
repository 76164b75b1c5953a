#!/bin/sh
# What each dependency costs the server's binary: the sizes of its symbols, in families.
#
# Run with `sh benches/support/binary.sh`. A generic of the standard library or of serde belongs to the first other crate in its
# name, which is the type it was made for; a function of C belongs to the archive that it came in. What has no name, such as the
# tables for unwinding, is not counted.
set -eu
cd "$(dirname "$0")/../.."
cargo build --quiet --profile profiling --package paas-server
built=${CARGO_TARGET_DIR:-target}/profiling
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names() { nm --defined-only "$@" 2>/dev/null | awk 'NF == 3 { print $3 }'; }
names "$built"/build/libsqlite3-sys-*/out/libsqlite3.a | sed 's/$/ SQLite/' >"$work/archives"
names "$built"/build/ring-*/out/libring_core*.a | sed 's/$/ TLS/' >>"$work/archives"
cat >"$work/families" <<'FAMILIES'
SQLite: rusqlite libsqlite3_sys hashlink
TLS: rustls ring webpki rustls_pki_types tokio_rustls hyper_rustls der x509_cert untrusted spki const_oid
etcd (etcd-client, tonic, prost, h2): etcd_client tonic tonic_prost prost prost_types h2 hyper_timeout
Docker (bollard): bollard bollard_stubs serde_repr serde_urlencoded
HTTP (hyper, axum, tower): hyper hyper_util axum axum_core axum_server tower tower_http tower_service tower_layer http http_body http_body_util httparse matchit serde_path_to_error
HTTP client (reqwest): reqwest url idna icu_normalizer icu_properties form_urlencoded percent_encoding
arguments (clap): clap clap_builder clap_lex anstream anstyle strsim
tokio and futures: tokio tokio_util tokio_stream futures futures_util futures_channel futures_core mio socket2 parking_lot parking_lot_core slab
log (tracing, with the regular expressions of its filter): tracing tracing_core tracing_subscriber tracing_log regex regex_automata regex_syntax aho_corasick matchers sharded_slab thread_local
JSON (serde): serde serde_json serde_core zmij itoa
TOML: toml toml_parser toml_datetime winnow serde_spanned
passwords (argon2): argon2 blake2 password_hash phc
the platform itself: paas_core paas_server
standard library: core alloc std hashbrown
FAMILIES
nm -S --defined-only "$built/paas-server" | awk 'NF == 4 && $3 !~ /[bB]/ && !seen[$1, $2]++ { print $2, $4 }' | c++filt |
    awk -v archives="$work/archives" -v families="$work/families" '
        function value(hex,  number, place) {
            number = 0
            for (place = 1; place <= length(hex); place++) number = number * 16 + index("0123456789abcdef", substr(hex, place, 1)) - 1
            return number
        }
        function family(name,  first, crate, found) {
            if (name !~ /::/) {
                if (name in of_archive) return of_archive[name]
                if (name ~ /^sqlite3/) return "SQLite"
                return name ~ /ring_core/ ? "TLS" : "other"
            }
            found = ""
            while (match(name, /[a-z_][a-z0-9_]*(\[[0-9a-f]+\])?::/)) {
                crate = substr(name, RSTART, RLENGTH)
                sub(/[\[:].*/, "", crate)
                # What follows another part of a path is no crate.
                if ((RSTART == 1 || substr(name, RSTART - 1, 1) !~ /[A-Za-z0-9_:]/) && crate in of_crate) {
                    if (found == "") found = of_crate[crate]
                    if (of_crate[crate] !~ /^(standard|JSON)/) { found = found ~ /^(standard|JSON)/ ? of_crate[crate] : found; break }
                }
                name = substr(name, RSTART + RLENGTH - 1)
            }
            return found == "" ? "other" : found
        }
        BEGIN {
            while ((getline line < archives) > 0) { split(line, word, " "); of_archive[word[1]] = word[2] }
            while ((getline line < families) > 0) {
                at = index(line, ": ")
                count = split(substr(line, at + 2), word, " ")
                for (i = 1; i <= count; i++) of_crate[word[i]] = substr(line, 1, at - 1)
            }
        }
        { size = value($1); sub(/^[^ ]* /, ""); sum[family($0)] += size; all += size }
        END {
            for (name in sum) printf "%6.2f MB %5.1f %%  %s\n", sum[name] / 1e6, sum[name] / all * 100, name
            printf "%6.2f MB         all that has a name\n", all / 1e6
        }' | sort -rn
