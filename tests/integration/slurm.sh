#!/usr/bin/env bash
# Start a Slurm of one node, this machine, run a command beside it, and stop it. Without a command it is the campaign of
# faults in slurm_faults.py. The node has as many CPUs as SLURM_CPUS says, whatever the machine has.
#
#     tests/integration/slurm.sh [COMMAND [ARGUMENT]...]
#
# It needs root and Debian's packages `slurm-wlm` and `munge`; it uses none of the machine's own configuration, and
# neither systemd nor cgroups. Everything lies in a temporary folder, which is printed, and kept if the command fails.
set -euo pipefail

fail() {
    echo "slurm.sh: $1" >&2
    exit 2
}

if [ $# = 0 ]; then
    cd "$(dirname "$0")/../.."
    set -- "${PYTHON:-python3}" -m tests.integration.slurm_faults
fi
for program in munged mungekey slurmctld slurmd sinfo; do
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null ||
        fail "expected the program $program, got none; apt-get install slurm-wlm munge"
done
[ "$(id -u)" = 0 ] || fail "expected root, whose daemons start jobs, got user $(id -un)"

export PATH="$PATH:/usr/sbin"
cpus=${SLURM_CPUS:-4}
folder=$(mktemp -d -t slurm-XXXXXX)
chmod 755 "$folder"
mkdir "$folder/state" "$folder/spool"
export SLURM_CONF="$folder/slurm.conf"
daemons=()

stop() {
    code=$?
    trap - EXIT INT TERM
    if [ -S "$folder/munge.socket" ] && scancel --user=root 2>/dev/null; then
        for _ in $(seq 50); do
            [ -z "$(squeue --noheader 2>/dev/null)" ] && break
            sleep 0.2
        done
    fi
    for pid in $(printf '%s\n' "${daemons[@]:-}" | tac); do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ "$code" = 0 ]; then
        rm -rf "$folder"
    else
        echo "slurm.sh: exit code $code; the daemons' logs are in $folder" >&2
    fi
    exit "$code"
}
trap stop EXIT
trap 'exit 130' INT TERM

free_ports() {
    python3 - <<'PYTHON'
import socket

sockets = [socket.socket() for _ in range(2)]
for one in sockets:
    one.bind(("", 0))
print(*(one.getsockname()[1] for one in sockets))
PYTHON
}

# A job that is queued again waits for cred_expire seconds, 120 by default.
write_configuration() {
    local host
    host=$(hostname -s)
    read -r controller_port node_port < <(free_ports)
    cat >"$SLURM_CONF" <<CONFIGURATION
ClusterName=integration
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmdPort=$node_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=10
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
ReturnToService=2
JobRequeue=1
MinJobAge=3600
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONFIGURATION
}

await() {
    local what=$1
    shift
    for _ in $(seq 150); do
        if "$@" >/dev/null 2>&1; then
            return
        fi
        sleep 0.2
    done
    fail "expected $what within 30 s, got none; see $folder"
}

begin() {
    "$@" >>"$folder/daemons.log" 2>&1 &
    daemons+=($!)
}

node_is_idle() {
    [ "$(sinfo --noheader --format=%T)" = idle ]
}

write_configuration
mungekey --create --keyfile "$folder/munge.key"
begin munged --foreground --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
await "munged's socket" test -S "$folder/munge.socket"
begin slurmctld -D -i
await "an answer of slurmctld" scontrol ping
begin slurmd -D
await "an idle node" node_is_idle

"$@"
