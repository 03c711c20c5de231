#!/usr/bin/env bash
# Start a SLURM cluster of one node, this machine, in a plain container: no systemd, no cgroups, no accounting.
#   start_slurm.sh FOLDER         writes FOLDER/slurm.conf and starts munged, slurmctld and slurmd; needs root
#   start_slurm.sh FOLDER stop    stops what it started
# Debian: apt-get install slurm-wlm munge. The commands then want SLURM_CONF=FOLDER/slurm.conf.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
pids="$folder/slurmctld.pid $folder/slurmd.pid $folder/munge/munged.pid"

if [ "${2:-}" = stop ]; then
  export SLURM_CONF="$folder/slurm.conf"
  scancel --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 40); do  # until the last job is gone
    [ -z "$(squeue --noheader 2>/dev/null)" ] && break
    sleep 0.5
  done
  for pid in $pids; do
    if [ -f "$pid" ]; then kill "$(cat "$pid")" 2>/dev/null || true; fi
  done
  exit 0
fi

host=$(hostname -s)
port=$(shuf -i 20000-29998 -n 1)
mkdir -p "$folder/munge" "$folder/state" "$folder/spool"
chown -R munge "$folder/munge"
chmod 0711 "$folder/munge"
head -c 128 /dev/urandom > "$folder/munge/key"
chmod 0400 "$folder/munge/key"
chown munge "$folder/munge/key"
# Under their own names, whatever a system's own munge does.
su -s /bin/sh munge -c "/usr/sbin/munged --force --key-file='$folder/munge/key' --socket='$folder/munge/socket' \
  --pid-file='$folder/munge/munged.pid' --log-file='$folder/munge/log' --seed-file='$folder/munge/seed'"

cat > "$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPort=$port
SlurmdPort=$((port + 1))
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
SlurmctldDebug=info
SlurmdDebug=info
RequeueExit=75
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

export SLURM_CONF="$folder/slurm.conf"
slurmctld -c
slurmd -c
for _ in $(seq 60); do
  if [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; then exit 0; fi
  sleep 0.5
done
echo "the node did not become idle:" >&2
sinfo >&2 || true
tail -n 20 "$folder"/*.log >&2
exit 1
