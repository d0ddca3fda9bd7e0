#!/usr/bin/env bash
# Builds the tools that the tests, the demo and the benchmarks run (etcd, the Kubernetes control plane, kubectl, Helm 4 and 3,
# two registries, promtool, the library that the reference reads versions with), each from a Go module of its own that pins it, into a cache outside the clone. A tool is built
# once per content of its go.mod and go.sum; a second run only looks. Binaries that are already there are used instead:
# KUBEBUILDER_ASSETS (etcd, kube-apiserver, kube-controller-manager, kubectl), a kubectl >= 1.34 and a helm 4 on PATH.
#
#   build.sh           build what is missing, print the folder that holds all tools
#   build.sh --where   print that folder; fail, naming what is missing, when something has not been built
#   build.sh --node    also what a whole node needs (kubelet, containerd, CoreDNS, ...), and Debian's packages for it,
#                      which root installs; fails with a sentence on a machine that can't run a node
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${GANTRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gantry}/tools
where=${1:-}
kubernetes_version=$(sed -n 's/^.*k8s\.io\/kubernetes \(v[0-9.]*\).*$/\1/p' "$here/kubernetes/go.mod" | head -1)
kubernetes_minor=$(echo "$kubernetes_version" | cut -d. -f2)
kubernetes_ld="-X k8s.io/component-base/version.gitVersion=$kubernetes_version \
 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$kubernetes_minor"
missing=()

# What a node needs of Debian: a program of each package, and the package.
debian=(runc:runc iptables:iptables ip:iproute2 busybox:busybox-static nsenter:util-linux mount:mount find:findutils)

# node_can_run: whether this machine can have a node; installs Debian's packages.
node_can_run() {
  local entry wanted=()
  if [ "$(uname -s)" != Linux ]; then
    echo "a node needs Linux, and this is $(uname -s): run the node tests in a Linux machine" >&2; return 1
  fi
  for entry in "${debian[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null || wanted+=("${entry##*:}")
  done
  if [ "$(id -u)" != 0 ]; then
    echo "a node needs root (namespaces, mounts, control groups), and you are $(id -un):" \
      "run this with sudo -E${wanted[*]:+, after apt-get install ${wanted[*]}}" >&2; return 1
  fi
  [ ${#wanted[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "a node needs what Debian has in ${wanted[*]}, and there is no apt-get: install it" >&2; return 1
  fi
  echo "installing ${wanted[*]} ..." >&2
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${wanted[@]}"; } >&2 ||
    { echo "a node needs ${wanted[*]}, and apt-get can't install them: see above" >&2; return 1; }
}
if [ "$where" = --node ]; then node_can_run; fi

# key MODULE: what the module's binaries depend on besides the Go toolchain; one of them is a program of our own.
key() { find "$here/$1" -name 'go.mod' -o -name 'go.sum' -o -name '*.go' | sort | xargs cat | sha256sum | cut -c1-16; }

# tool MODULE BINARY PACKAGE [LDFLAGS [TAGS]]
tool() {
  local dir="$cache/$1/$(key "$1")"
  if [ ! -x "$dir/$2" ]; then
    if [ "$where" = --where ]; then missing+=("$2"); return; fi
    mkdir -p "$dir"
    echo "building $2 (once per version) ..." >&2
    (cd "$here/$1" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags "${5:-}" -ldflags "-s -w ${4:-}" \
      -o "$dir/.$2.$$" "$3")
    mv "$dir/.$2.$$" "$dir/$2"
  fi
  ln -sfn "$dir/$2" "$bin/$2"
}

# given BINARY: an installation that the person already has.
given() {
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$1" ]; then
    ln -sfn "$KUBEBUILDER_ASSETS/$1" "$bin/$1"; return 0
  fi
  if [ "$1" = helm ] && command -v helm >/dev/null && helm version --template '{{.Version}}' 2>/dev/null | grep -q ^v4; then
    ln -sfn "$(command -v helm)" "$bin/helm"; return 0
  fi
  if [ "$1" = kubectl ] && command -v kubectl >/dev/null; then
    local minor
    minor=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v1\.\([0-9]*\)\..*$/\1/p')
    if [ "${minor:-0}" -ge 34 ]; then ln -sfn "$(command -v kubectl)" "$bin/kubectl"; return 0; fi
  fi
  return 1
}

all=$(for m in "$here"/*/go.mod; do key "$(basename "$(dirname "$m")")"; done | sha256sum | cut -c1-16)
bin="$cache/bin/$all"
mkdir -p "$bin"

if [ "$where" = --node ]; then
  for b in containerd containerd-shim-runc-v2 ctr; do
    tool containerd "$b" "github.com/containerd/containerd/v2/cmd/$b" "" no_btrfs,no_zfs,no_devmapper
  done
  for p in ipam/host-local main/bridge main/loopback meta/portmap; do
    tool cni "${p#*/}" "github.com/containernetworking/plugins/plugins/$p"
  done
  tool coredns coredns github.com/coredns/coredns
  for b in kubelet kube-proxy kube-scheduler; do
    tool kubernetes "$b" "k8s.io/kubernetes/cmd/$b" "$kubernetes_ld"
  done
fi
given helm || tool helm helm helm.sh/helm/v4/cmd/helm
given etcd || tool etcd etcd go.etcd.io/etcd/server/v3
tool masterminds masterminds .
tool crane crane github.com/google/go-containerregistry/cmd/crane
tool registry registry github.com/distribution/distribution/v3/cmd/registry
helm3_minor=$(sed -n 's/^.*k8s\.io\/client-go v0\.\([0-9]*\)\..*$/\1/p' "$here/helm3/go.mod" | head -1)
# Without it Helm 3 takes every cluster that it does not ask for Kubernetes 1.20.
tool helm3 helm3 helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$helm3_minor"
# Without the service discoveries of all clouds: it only reads rules.
tool prometheus promtool github.com/prometheus/prometheus/cmd/promtool "" remove_all_sd
for b in kube-apiserver kube-controller-manager kubectl; do
  given "$b" || tool kubernetes "$b" "k8s.io/kubernetes/cmd/$b" "$kubernetes_ld"
done

if [ ${#missing[@]} -gt 0 ]; then
  echo "these tools have not been built: ${missing[*]}; run 'make tools' (about 10 minutes on two cores, once)" >&2
  exit 1
fi
echo "$bin"
