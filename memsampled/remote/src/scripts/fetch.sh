cd "$1/out" && tar -cf - . | tail -c "+$(($2 + 1))"
