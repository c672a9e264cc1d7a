#!/usr/bin/env bash
# A real Slurm on this machine with everything in one folder: controller, node and authentication, no accounting. As root, with Debian's
# slurm-wlm and munge:
#   tests/slurm/cluster.sh start DIR && export SLURM_CONF=DIR/slurm.conf      then sinfo, sbatch, srun
#   tests/slurm/cluster.sh stop DIR
set -euo pipefail
mkdir -p "$2"
folder=$(cd "$2" && pwd)
host=$(hostname -s)

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

stop() {  # the node first; each by the process it left in its file, and only while that process is still the daemon
    for daemon in slurmd slurmctld munged; do
        file="$folder/$daemon.pid"
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$daemon" ]; then
            kill "$pid"
            for _ in $(seq 100); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
        fi
        rm -f "$file"
    done
}

start() {
    mkdir -p "$folder/state" "$folder/spool"
    (umask 077 && dd if=/dev/urandom of="$folder/munge.key" bs=1 count=1024 status=none)
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
    cat > "$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$(port)
SlurmdPort=$(port)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=2
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF="$folder/slurm.conf"
    slurmctld
    slurmd
    for _ in $(seq 60); do
        if timeout 30 srun --immediate=10 true 2>> "$folder/start.log"; then return; fi
        sleep 1
    done
    echo "Slurm does not answer: see $folder/*.log" >&2
    stop
    return 1
}

case "$1" in
    start) start ;;
    stop) stop ;;
    *) echo "usage: $0 start|stop DIR" >&2 && exit 2 ;;
esac
