FROM base:1

ENV a=hello
ENV empty=""
ENV A1=${a} A2="${a} x" A3='$a' A4=\$a A5=${no:-default} A6=${a:+set} A7=${empty:-e} A8=${empty-e} A9=${no+x}
LABEL l1=$a l2='$a' "l 3"="${a}"
WORKDIR /dir/$a
USER ${user:-root}
VOLUME /vol/$a
EXPOSE 80${empty}
STOPSIGNAL SIG${sig:-TERM}
