cd "$1" && ./memsample --version
