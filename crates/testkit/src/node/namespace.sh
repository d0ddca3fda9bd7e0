# Process 1 of a node's namespaces (network, mounts, processes, IPC): sets them up and then reaps what is orphaned.
# When it ends, the kernel ends every process in them, and with the last one the network and the mounts are gone.
#   namespace.sh FOLDER ADDRESS
set -eu
folder=$1 address=$2

# The kubelet sets these of the whole machine. Here it finds them as it wants them, in files over the real ones.
shield() {
  [ -e "/proc/sys/$1" ] || return 0
  mkdir -p "$folder/sys/$(dirname "$1")"
  echo "$2" >"$folder/sys/$1"
  mount --bind "$folder/sys/$1" "/proc/sys/$1"
}

mount -t proc proc /proc
shield vm/overcommit_memory 1
shield vm/panic_on_oom 0
shield kernel/panic 10
shield kernel/panic_on_oops 1
shield kernel/keys/root_maxkeys 1000000
shield kernel/keys/root_maxbytes 25000000

# Daemons keep state and sockets in their usual places, which are this node's own.
mount -t tmpfs -o mode=755 node /run
mkdir -p /run/netns /run/lock "$folder/lib" "$folder/log"
mount --bind "$folder/lib" /var/lib
mount --bind "$folder/log" /var/log
# The kubelet hands mounts on to containers.
mount --make-rshared /

# No uplink: a pair of interfaces that are each other's only peer. The default route leads nowhere.
ip link set lo up
ip link add node0 type veth peer name node1
ip address add "$address/24" dev node0
ip link set node0 up
ip link set node1 up
ip route add default via "${address%.*}.254" dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

: >"$folder/ready"
sleep infinity &
while :; do wait; done
