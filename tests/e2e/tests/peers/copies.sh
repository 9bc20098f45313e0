# copies.sh ENGINE IMAGE FOLDER: copies in many ways, and shows what came of it.
engine=$1 image=$2 folder=$3
mkdir -p "$folder" && cd "$folder" || exit 1
B=/bin/busybox
$engine run -d --network none --name box "$image" sh -c "$B mkdir -p /d/sub /e; echo one >/d/one; echo two >/d/sub/two
  $B ln -s /d /ld; $B ln -s d/one /lone; $B ln -s /nowhere /broken; $B ln /d/one /d/hard; $B mkfifo /d/fifo
  $B chmod 4755 /d/one; $B chown 33:33 /d/sub; echo >/ready; while true; do $B sleep 100; done" >/dev/null
until $engine cp box:/ready - >/dev/null 2>&1; do sleep 0.1; done
mkdir -p src/dir/sub; echo f >src/file; echo a >src/dir/a; echo b >src/dir/sub/b
ln -s ../file src/dir/link; ln -s dir src/ldir; ln -s file src/lfile; ln src/dir/a src/dir/hard
chown -R 12:34 src/dir/sub; chmod 2750 src/dir/sub
plain() { grep -v '^time=' | sed "s#$folder##g; s#^hull: ##; s#^Error response from daemon: ##; s# with directory \".*##"; }
n=0
out() { n=$((n+1)); mkdir o$n; cd o$n || exit 1; eval "$2"; echo "--- out $1 | $2"; eval "$engine cp $1" 2>&1 | plain
  find . -mindepth 1 \( -type l -printf '%p %y -> %l\n' \) -o -printf '%p %y %m %U:%G %n\n' | sort; cd ..; }
tout() { echo "--- tar $1"; $engine cp "$1" - 2>&1 | tar t 2>&1 | grep -v '^tar:'; }
into() { echo "--- into $1 | $2"; $engine exec box sh -c "$B rm -rf /in; $B mkdir /in; cd /in; PATH=/bin; $2"
  (cd src; eval "$engine cp $1" 2>&1 | plain)
  $engine exec box sh -c "cd /in; $B find . -mindepth 1 -exec $B stat -c '%n %F %a %u:%g %h %s' {} + 2>/dev/null | $B sort"; }
for p in /d /d/ /d/. /d/one /ld /ld/ /ld/. /lone /broken /nope /d/one/ /d/sub; do tout box:$p; done
out "box:/d ."; out "box:/d new"; out "box:/d new/"; out "box:/d/. new"; out "box:/d/. ."; out "box:/d/ there" "mkdir there"
out "box:/d file" "touch file"; out "box:/d/one ."; out "box:/d/one new"; out "box:/d/one new/"
out "box:/d/one file" "echo old>file"; out "box:/d/one one" "mkdir one"; out "box:/d ." "touch d"; out "box:/lone ."
out "-L box:/lone ."; out "-L box:/ld ."; out "-L box:/ld new"; out "box:/ld/ ."; out "box:/broken ."; out "box:/nope ."
out "box:/d/one no/such"; out "box:/d/one l" "echo x>t; ln -s t l"; out "nobox:/x ."; out "-a box:/d/sub ."
out "box:d/sub/two ."; out "-L box:/broken ."; out "box:/d l" "mkdir t; ln -s t l"; out "box:/lone l" "ln -s nothere l"
into "file box:/in"; into "file box:/in/new"; into "file box:/in/new/"; into "file box:/in/dir" "busybox mkdir dir"
into "file box:/in/file" "busybox mkdir file"; into "file box:/in/x" "echo old>x"; into "dir box:/in"; into "dir box:/in/new"
into "dir/. box:/in"; into "dir/. box:/in/new"; into "dir/ box:/in/new/"; into "dir box:/in/x" "echo old >x"
into "dir box:/in" "busybox touch dir"; into "lfile box:/in"; into "-L lfile box:/in"; into "-L ldir box:/in"
into "dir box:/in" "busybox mkdir dir; echo keep >dir/keep; busybox ln -s /e dir/sub"
into "ldir box:/in"; into "ldir/ box:/in"; into "-L ldir/. box:/in/n"; into "nope box:/in"; into "file box:/in/no/such"
into "file box:/in/l" "busybox ln -s /in/t l; busybox touch t"; into "file box:/in/l" "busybox ln -s /in/d l; busybox mkdir d"
into "dir box:/in/l" "busybox ln -s d l; busybox mkdir d"; into "file box:/in/l" "busybox ln -s nothere l"; into "-a dir box:/in"
into "file nobox:/x"; into "file box:in/rel"; into "file file2"; into "box:/x box:/y"; into "file box:/in/p" "busybox mkfifo p"
tar -C src -cf both.tar dir file; into "- box:/in < ../both.tar"; gzip -k both.tar; into "- box:/in < ../both.tar.gz"
$engine rm -f box >/dev/null
