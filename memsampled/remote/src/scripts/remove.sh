case $1 in */memsample-*) ;; *) exit 1 ;; esac
cd / || exit 1
# What a cut connection left of ours: nobody else has a directory here. One call looks at all processes, which is fast
# and can be deceived by the name of a directory; so each is looked at again.
ls -ld /proc/[0-9]*/cwd 2>/dev/null | while read -r line; do
    case $line in *" -> $1" | *" -> $1/"* | *" -> $1 "*) ;; *) continue ;; esac
    process=${line#*/proc/}
    process=${process%%/*}
    cwd=$(readlink "/proc/$process/cwd" 2>/dev/null) || continue
    case $cwd in
        "$1" | "$1"/* | "$1 "*) kill -KILL "$process" 2>/dev/null ;;
    esac
done
rm -rf "$1" 2>/dev/null || { chmod -R u+rwx "$1"; rm -rf "$1"; }
[ ! -e "$1" ]
