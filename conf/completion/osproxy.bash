# Completion of osproxy for bash, 3.2 and later.
# Made of its .in file and the option table by OSPROXY_WRITE_CONF=1 mitm_test -tc='conf:*'.

_osproxy_commands='run exec open query export import sessions rules who ca learned config doctor cleanup help'

# For the word $1.
_osproxy_options() {
  case $1 in
    run) echo '--config -c --modify-headers --modify-body --map-local --block-list --anticache --anticomp --stickycookie --stickyauth --pass --block --only --wait-for --allow-untrusted --ports -p --exclude -x --family --loopback --group --listen-port --engine --mark --quic --mode -m --ui --format -f --output -o --detail -d --color --starts --bodies -b --view --pcap --save --save-bodies --keep --tls-min --tls-ciphers --keylog --client-cert --upstream-ca --upstream-ca-only --error-page --upstream-proxy --insecure -k --passthrough-ttl --passthrough-after --threads --ca-dir --help' ;;
    exec) echo '--config -c --modify-headers --modify-body --map-local --block-list --anticache --anticomp --stickycookie --stickyauth --pass --block --only --ports -p --exclude -x --family --loopback --group --listen-port --engine --mark --quic --format -f --output -o --detail -d --color --starts --bodies -b --view --pcap --save --save-bodies --keep --tls-min --tls-ciphers --keylog --client-cert --upstream-ca --upstream-ca-only --error-page --upstream-proxy --insecure -k --passthrough-ttl --passthrough-after --threads --ca-dir --wait -w --help' ;;
    open) echo '--detail -d --color --view --help' ;;
    query) echo '--detail -d --color --bodies -b --format -f --sort --count --fields --follow --mitm-version --list-fields --with-secrets --help' ;;
    export) echo '--detail -d --color --bodies -b --format -f --output -o --force --sort --fields --mitm-version --with-secrets --help' ;;
    import) echo '--save --help' ;;
    sessions) echo '--format -f --help' ;;
    rules) echo '--config -c --modify-headers --modify-body --map-local --block-list --anticache --anticomp --stickycookie --stickyauth --dry-run --ports -p --exclude -x --family --loopback --group --listen-port --engine --mark --quic --dialect --exec-group --into --out-of --help' ;;
    who) echo '--config -c --format -f --follow --help' ;;
    ca) echo '--config -c --ca-dir --help' ;;
    learned) echo '--forget --help' ;;
    config) echo '--config -c --help' ;;
    doctor) echo '--config -c --mark --format -f --ca-dir --help' ;;
    cleanup) echo '--help' ;;
  esac
}

# For the word $1.
_osproxy_value() {
  case $1 in
    --config | -c) echo 'FILE' ;;
    --modify-headers) echo 'ANY' ;;
    --modify-body) echo 'ANY' ;;
    --map-local) echo 'ANY' ;;
    --block-list) echo 'ANY' ;;
    --stickycookie) echo 'FILTER' ;;
    --stickyauth) echo 'FILTER' ;;
    --dry-run) echo 'ANY' ;;
    --pass) echo 'ANY' ;;
    --block) echo 'ANY' ;;
    --only) echo 'ANY' ;;
    --ports | -p) echo 'ANY' ;;
    --exclude | -x) echo 'ANY' ;;
    --family) echo 'both ipv4 ipv6' ;;
    --group) echo 'ANY' ;;
    --listen-port) echo 'ANY' ;;
    --engine) echo 'auto packet redirect' ;;
    --mark) echo 'ANY' ;;
    --quic) echo 'block allow' ;;
    --dialect) echo 'nft darwin freebsd openbsd' ;;
    --exec-group) echo 'ANY' ;;
    --into) echo 'FILE' ;;
    --out-of) echo 'FILE' ;;
    --mode | -m) echo 'ANY' ;;
    --ui) echo 'dump' ;;
    --format | -f) echo 'text jsonl' ;;
    --output | -o) echo 'FILE' ;;
    --detail | -d) echo 'ANY' ;;
    --color) echo 'auto always never' ;;
    --bodies | -b) echo 'ANY' ;;
    --view) echo 'FILTER' ;;
    --pcap) echo 'FILE' ;;
    --format | -f) echo 'text jsonl har mitm pcapng curl httpie wget fetch python raw csv' ;;
    --output | -o) echo 'FILE' ;;
    --sort) echo 'ANY' ;;
    --fields) echo 'FIELDS' ;;
    --mitm-version) echo '17 21' ;;
    --save) echo 'FILE' ;;
    --save-bodies) echo 'ANY' ;;
    --keep) echo 'ANY' ;;
    --tls-min) echo '1.0 1.1 1.2 1.3' ;;
    --tls-ciphers) echo 'ANY' ;;
    --keylog) echo 'FILE' ;;
    --client-cert) echo 'ANY' ;;
    --upstream-ca) echo 'FILE' ;;
    --upstream-ca-only) echo 'FILE' ;;
    --error-page) echo 'browsers always never' ;;
    --upstream-proxy) echo 'ANY' ;;
    --passthrough-ttl) echo 'ANY' ;;
    --passthrough-after) echo 'ANY' ;;
    --threads) echo 'ANY' ;;
    --ca-dir) echo 'DIR' ;;
    --forget) echo 'ANY' ;;
  esac
}

# For the word $1.
_osproxy_words() {
  case $1 in
    sessions) echo 'list rm compact' ;;
    ca) echo 'create show export install uninstall status' ;;
    config) echo 'check show' ;;
    help) echo 'run exec open query export import sessions rules who ca learned config doctor cleanup help' ;;
  esac
}

# Names of running programs. What has no memory of its own is the kernel's.
_osproxy_programs() {
  ps -A -o vsz= -o comm= 2>/dev/null | sed -n 's,^ *[1-9][0-9]* *,,p' | sed 's,.*/,,'
}

# What osproxy offers for the word $2, as far as it is typed: $1 is filter, fields or sessions.
_osproxy_ask() {
  local kind=$1 typed=$2 quote='' text
  case $typed in
    \'* | \"*) quote=${typed:0:1} typed=${typed:1} ;;
    *) typed=${typed//\\/} ;;
  esac
  while IFS=$'\t' read -r text _; do
    [[ -n $quote || $text != *[!A-Za-z0-9_.,-]* ]] || text=$(printf %q "$text")
    COMPREPLY+=("$text")
  done < <("${COMP_WORDS[0]}" __complete "$kind" "$typed" 2>/dev/null)
}

# With nothing to offer, readline goes on with names of files.
_osproxy() {
  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
  local command='' skip='' plain=0 i word
  COMPREPLY=()
  # The = of --name=VALUE is a word of its own.
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $before == '=' ]]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ -n $skip ]]; then
      [[ $word == '=' ]] || skip=''
    elif [[ $word == -- || $word != -* ]]; then
      if [[ -z $command && $plain == 0 && " $_osproxy_commands " == *" $word "* ]]; then
        command=$word
      elif [[ $command == exec ]]; then
        [[ $word == -- ]] && i=$((i + 1))
        _osproxy_program "$i"
        return
      else
        plain=$((plain + 1))
      fi
    elif [[ -n $(_osproxy_value "$word") ]]; then
      skip=1
    fi
  done
  if [[ -n $skip ]]; then
    word=$(_osproxy_value "$before")
    case $word in
      FILE | ANY) ;;
      FILTER) _osproxy_ask filter "$current" ;;
      FIELDS) _osproxy_ask fields "$current" ;;
      DIR) COMPREPLY=($(compgen -d -- "$current")) ;;
      *) COMPREPLY=($(compgen -W "$word" -- "$current")) ;;
    esac
    return
  fi
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$(_osproxy_options "${command:-run}")" -- "$current"))
    return
  fi
  case $command:$plain in
    query:1 | export:1) _osproxy_ask filter "$current" ;;
    query:0 | export:0 | open:* | sessions:[1-9]*) _osproxy_ask sessions "$current" ;;
  esac
  [[ $plain == 0 && ${#COMPREPLY[@]} == 0 ]] || return
  case $command in
    '') word="$_osproxy_commands $(_osproxy_programs)" ;;
    run) word=$(_osproxy_programs) ;;
    exec) word=$(compgen -c -- "$current") ;;
    *) word=$(_osproxy_words "$command") ;;
  esac
  COMPREPLY=($(compgen -W "$word" -- "$current"))
}

# The command line behind `exec`, from word $1 on: as if it stood alone, where bash-completion is loaded.
_osproxy_program() {
  if ((COMP_CWORD == $1)); then
    COMPREPLY=($(compgen -c -- "${COMP_WORDS[COMP_CWORD]}"))
  elif declare -F _comp_command_offset >/dev/null; then
    _comp_command_offset "$1"
  elif declare -F _command_offset >/dev/null; then
    _command_offset "$1"
  fi
}

complete -o bashdefault -o default -F _osproxy osproxy
