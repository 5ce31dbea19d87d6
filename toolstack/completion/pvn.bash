# SPDX-License-Identifier: MIT
# Completion of pvn(1) for bash: commands, options, and the names of the domains that there are.
_pvn_domains()
{
    pvn list 2>/dev/null | while read -r name id _; do
        [ "$name" = NAME ] || [ "$id" = 0 ] || echo "$name"
    done
}

_pvn_pools()
{
    pvn pool list 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p'
}

_pvn_devices()
{
    pvn "$1" list "$2" 2>/dev/null | sed -n '2,$s/^[^ ]*  *\([^ ]*\) .*/\1/p'
}

_pvn()
{
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} previous=${COMP_WORDS[COMP_CWORD - 1]} choices=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        choices='create list info console pause unpause shutdown reboot destroy dmesg sched traps debug vcpu host pool block network store top trace lint --help --version'
    else
        case "$command" in
        create) choices='--console --paused --wait --dry-run --json --help' ;;
        list | dmesg) choices='--json --help' ;;
        lint) choices='--all --json --help' ;;
        info) choices="$(_pvn_domains) --json --help" ;;
        traps) choices="$(_pvn_domains) --kernel --json --help" ;;
        console | pause | unpause | destroy) choices="$(_pvn_domains) --help" ;;
        shutdown | reboot) choices="$(_pvn_domains) --wait --help" ;;
        sched) choices="$(_pvn_domains) simulate --weight --warp --warp-limit --unwarp --json --help" ;;
        debug) choices='audit --json --help' ;;
        vcpu)
            case "$COMP_CWORD,${COMP_WORDS[2]}" in
            2,*) choices='list set pin --help' ;;
            *,list) choices="$(_pvn_domains) --json --help" ;;
            3,set) choices="$(_pvn_domains) --help" ;;
            3,pin) choices="dom0 $(_pvn_domains) --soft --help" ;;
            *,pin) choices='all --soft --help' ;;
            esac
            ;;
        host)
            case "$COMP_CWORD,${COMP_WORDS[2]},${COMP_WORDS[3]}" in
            2,*) choices='cpu locks --help' ;;
            *,locks,*) choices='--json --help' ;;
            3,cpu,*) choices='list online offline --help' ;;
            *,cpu,list) choices='--json --help' ;;
            *,cpu,*) choices="$(pvn host cpu list 2>/dev/null | sed -n 's/^ *\([0-9][0-9]*\) .*/\1/p') --help" ;;
            esac
            ;;
        pool)
            case "$COMP_CWORD,${COMP_WORDS[2]}" in
            2,*) choices='list create destroy add move --help' ;;
            *,list) choices='--json --help' ;;
            *,create) choices='--sched --cpus --help' ;;
            3,move) choices="dom0 $(_pvn_domains) --help" ;;
            3,add | *,destroy | 4,move) choices="$(_pvn_pools) --help" ;;
            esac
            ;;
        block)
            case "$COMP_CWORD,${COMP_WORDS[2]}" in
            2,*) choices='list attach detach resize --help' ;;
            *,list) choices="$(_pvn_domains) --json --help" ;;
            3,*) choices="$(_pvn_domains) --help" ;;
            *,attach) choices='--read-only --sector-size --format --wait --help' ;;
            *,detach) choices="$(_pvn_devices block "${COMP_WORDS[3]}") --force --help" ;;
            *,resize) choices="$(_pvn_devices block "${COMP_WORDS[3]}") --help" ;;
            esac
            ;;
        network)
            case "$COMP_CWORD,${COMP_WORDS[2]}" in
            2,*) choices='list attach detach --help' ;;
            *,list) choices="$(_pvn_domains) --json --help" ;;
            3,*) choices="$(_pvn_domains) --help" ;;
            *,attach) choices='--bridge --address --mac --mtu --rate --no-offload --wait --help' ;;
            *,detach) choices="$(_pvn_devices network "${COMP_WORDS[3]}") --force --help" ;;
            esac
            ;;
        store)
            case "$COMP_CWORD,${COMP_WORDS[2]}" in
            2,*) choices='ls read write rm watch chmod --help' ;;
            *,ls) choices='--recursive --permissions --json --help' ;;
            *,read) choices='--json --help' ;;
            *,watch) choices='--depth --count --json --help' ;;
            *) choices='--help' ;;
            esac
            ;;
        top) choices='--batch --interval --json --help' ;;
        trace) choices='--output --seconds --events --json --help' ;;
        esac
        case "$previous" in
        --wait | --weight | --warp | --warp-limit | --unwarp | --cpus | --batch | --interval | --seconds | -s | --output | -o | --bridge | --address | --mac | --mtu | --rate) choices= ;;
        --sched) choices='bvt rr null' ;;
        --events | -e) choices='all enter leave hypercall switch wake flush move window' ;;
        esac
    fi
    # shellcheck disable=SC2207
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    if [ "$command" = trace ] && [[ $previous = --output || $previous = -o ]]; then
        compopt -o filenames
        # shellcheck disable=SC2207
        COMPREPLY=($(compgen -f -- "$word"))
    fi
    if [ "$command" = lint ] && [ "$COMP_CWORD" -gt 1 ] && [[ $word != -* ]]; then
        compopt -o filenames
        # shellcheck disable=SC2207
        COMPREPLY=($(compgen -f -- "$word"))
    fi
    if [ "$command" = block ] && [ "${COMP_WORDS[2]}" = attach ] && [ "$COMP_CWORD" -gt 3 ] && [[ $word != -* ]]; then
        compopt -o filenames
        # shellcheck disable=SC2207
        COMPREPLY=($(compgen -f -- "$word"))
    fi
    if [ "$command" = create ] && [ "$COMP_CWORD" -gt 1 ] && [[ $word != -* ]]; then
        compopt -o filenames
        # shellcheck disable=SC2207
        COMPREPLY=($(compgen -f -X '!*.toml' -- "$word") $(compgen -d -- "$word"))
    fi
}
complete -F _pvn pvn
