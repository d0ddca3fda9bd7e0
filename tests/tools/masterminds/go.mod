// What the reference reads versions and constraints with: crates/solve is compared with it.
module gantry.dev/tools/masterminds

go 1.26.0

require github.com/Masterminds/semver/v3 v3.5.0
