# Runs inside the image in front of each of our scripts. $1 is the folder of its files, the rest are its arguments.
JOB=$1
export JOB
shift
umask 022
ulimit -c 0
# Programs that close every possible descriptor one by one take minutes under a container's huge limit.
ulimit -S -n 1024
# When memory runs out, the kernel has to kill this, not the worker or the disk under it.
echo 500 2>/dev/null >/proc/self/oom_score_adj
/bin/sh "$JOB/script" "$@"
code=$?
# The script has left these processes behind. They end: services must not be started, and no change to the image
# may come later. Processes 1 and this one are not reached by -1.
if kill -0 -1 2>/dev/null; then
  kill -TERM -1 2>/dev/null
  tries=0
  while kill -0 -1 2>/dev/null && [ $tries -lt 20 ]; do
    sleep 0.05
    tries=$((tries + 1))
  done
  kill -KILL -1 2>/dev/null
fi
exit $code
