case $1 in */memsample-*) ;; *) exit 1 ;; esac
cd / || exit 1
# What a cut connection left of ours: nobody else has a directory here.
for process in /proc/[0-9]*; do
    cwd=$(readlink "$process/cwd" 2>/dev/null) || continue
    case $cwd in
        "$1" | "$1"/* | "$1 "*) kill -KILL "${process#/proc/}" 2>/dev/null ;;
    esac
done
rm -rf "$1" 2>/dev/null || { chmod -R u+rwx "$1"; rm -rf "$1"; }
[ ! -e "$1" ]
