#!/usr/bin/env bash
# Builds the image, starts jobs on Dataflow, and looks after them. Each command is printed before it runs.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: dataflow/cloud.sh STEP [arguments] [--print]

once:
  setup                            switches the services on, and makes the bucket and the place for images
  image                            builds the image with Cloud Build and pushes it; with --docker, builds it here
  template                         makes the Flex Template of the image

for each run:
  run INPUT OUTPUT [options]       starts `audiosieve score` on Dataflow from here; the same again goes on
  run-template INPUT OUTPUT [options]    the same from the template, with nothing but gcloud installed here

meanwhile and after:
  watch [JOB]                      the jobs at work; of one job its state, its metrics and its errors
  cancel JOB                       ends a job, which has committed nothing then
  clean                            deletes temporary files; no job may be at work

--print only prints the commands. Options of `run` and `run-template` are those of `audiosieve score`, and Beam's.

settings, as environment variables:
  PROJECT, REGION, BUCKET          must be set; BUCKET without gs://
  PROFILE          cpu-small       workers: a file of dataflow/profiles, cpu-small, cpu-large, gpu-l4
  REPOSITORY       audiosieve      in Artifact Registry
  TAG              the commit's    of the image and the template
  JOB_NAME         audiosieve-...  of the job; without one, the time
  SERVICE_ACCOUNT                  that workers run as
  SUBNETWORK                       of the workers, regions/REGION/subnetworks/NAME; they get no public addresses
  ZONE                             of the workers; for GPUs, which not every zone has
  LAUNCHER         n1-standard-1   machine that starts a template's job, and lists the corpus: 1 GB for a million files
  LABELS           app=audiosieve  of the job: KEY=VALUE,KEY=VALUE
TEXT
}

fail() {
    printf 'dataflow/cloud.sh: %s\n' "$1" >&2
    exit 2
}

# Prints a command as it can be pasted into a shell, and runs it unless --print was given.
act() {
    local word line=""
    for word in "$@"; do
        # Words that need no quotes are shown without.
        if [[ $word =~ ^[A-Za-z0-9_./:=@,+^-]+$ ]]; then line+=" $word"; else line+=" $(quoted "$word")"; fi
    done
    printf '%s\n' "${line# }"
    if [[ -z $only_print ]]; then "$@"; fi
}

quoted() {
    printf "'%s'" "${1//\'/\'\\\'\'}"
}

# The lines of the profile that are options.
profile() {
    local file="$here/profiles/$PROFILE.options"
    [[ -f $file ]] || fail "there is no profile $PROFILE; there are $(cd "$here/profiles" && echo *.options | sed 's/\.options//g')"
    grep '^--' "$file"
}

setup() {
    act gcloud services enable dataflow.googleapis.com artifactregistry.googleapis.com cloudbuild.googleapis.com \
        storage.googleapis.com "--project=$PROJECT"
    act gcloud storage buckets create "gs://$BUCKET" "--location=$REGION" --uniform-bucket-level-access "--project=$PROJECT"
    act gcloud artifacts repositories create "$REPOSITORY" --repository-format=docker "--location=$REGION" \
        "--project=$PROJECT"
}

image() {
    if [[ ${1:-} == --docker ]]; then
        act docker build "--file=$here/Dockerfile" "--target=$target" "--tag=$image" "$root"
        act docker push "$image"
    else
        [[ $# == 0 ]] || fail "image takes --docker, and nothing else"
        act gcloud builds submit "$root" "--config=$here/cloudbuild.yaml" "--substitutions=_IMAGE=$image,_TARGET=$target" \
            "--project=$PROJECT"
    fi
}

template() {
    act gcloud dataflow flex-template build "$template" "--image=$image" --sdk-language=PYTHON \
        "--metadata-file=$here/template_metadata.json" "--project=$PROJECT"
}

# audiosieve score INPUT OUTPUT [options], on Dataflow.
run() {
    [[ $# -ge 2 ]] || fail "run takes INPUT and OUTPUT"
    local input=$1 output=$2 lines options
    shift 2
    lines=$(profile)
    mapfile -t options <<<"$lines"
    options+=("--labels=$(labels_as_json)")
    [[ -z $SERVICE_ACCOUNT ]] || options+=("--service_account_email=$SERVICE_ACCOUNT")
    [[ -z $SUBNETWORK ]] || options+=("--subnetwork=$SUBNETWORK" --no_use_public_ips)
    [[ -z $ZONE ]] || options+=("--worker_zone=$ZONE")
    act audiosieve score "--input=$input" "--output=$output" --runner=DataflowRunner "--project=$PROJECT" \
        "--region=$REGION" "--job_name=$JOB_NAME" "--temp_location=$temp" "--staging_location=$staging" \
        "--sdk_container_image=$image" --sdk_location=container "${options[@]}" "$@"
}

# The same from the template: gcloud has flags of its own for some of Beam's options, and passes the others on.
run_template() {
    [[ $# -ge 2 ]] || fail "run-template takes INPUT and OUTPUT"
    local lines flags=() option name value
    local options=("--input=$1" "--output=$2" "--sdk_container_image=$image" --sdk_location=container)
    shift 2
    lines=$(profile)
    mapfile -t -O "${#options[@]}" options <<<"$lines"
    while [[ $# -gt 0 ]]; do
        # `--batch_size 8` is `--batch_size=8`, and a flag has the value true.
        if [[ $1 == --*=* ]]; then
            options+=("$1")
        elif [[ ${2:---} != --* ]]; then
            options+=("$1=$2")
            shift
        else
            options+=("$1=true")
        fi
        shift
    done
    # gcloud takes each parameter once. As on the command line, the last value counts, and lists grow.
    local -A values=()
    local names=()
    for option in "${options[@]}"; do
        name=${option%%=*}
        value=${option#*=}
        if [[ ! -v values[$name] ]]; then
            names+=("$name")
        elif [[ $name == --experiments || $name == --dataflow_service_options ]]; then
            value=${values[$name]},$value
        fi
        values[$name]=$value
    done
    for name in "${names[@]}"; do
        value=${values[$name]}
        case $name in
        --machine_type | --worker_machine_type) flags+=("--worker-machine-type=$value") ;;
        --num_workers) flags+=("--num-workers=$value") ;;
        --max_num_workers) flags+=("--max-workers=$value") ;;
        --flexrs_goal) flags+=("--flexrs-goal=$value") ;;
        --experiments) flags+=("--additional-experiments=$value") ;;
        # With another sign than the comma between parameters: values have commas.
        *) flags+=("--parameters=^;;^${name#--}=$value") ;;
        esac
    done
    [[ -z $SERVICE_ACCOUNT ]] || flags+=("--service-account-email=$SERVICE_ACCOUNT")
    [[ -z $SUBNETWORK ]] || flags+=("--subnetwork=$SUBNETWORK" --disable-public-ips)
    [[ -z $ZONE ]] || flags+=("--worker-zone=$ZONE")
    [[ -z $LAUNCHER ]] || flags+=("--launcher-machine-type=$LAUNCHER")
    act gcloud dataflow flex-template run "$JOB_NAME" "--template-file-gcs-location=$template" "--region=$REGION" \
        "--temp-location=$temp" "--staging-location=$staging" "--additional-user-labels=$LABELS" "${flags[@]}" \
        "--project=$PROJECT"
}

watch() {
    if [[ $# == 0 ]]; then
        act gcloud dataflow jobs list --status=active "--region=$REGION" "--project=$PROJECT"
        return
    fi
    act gcloud dataflow jobs describe "$1" "--region=$REGION" "--project=$PROJECT"
    act gcloud beta dataflow metrics list "$1" --source=user "--region=$REGION" "--project=$PROJECT"
    act gcloud logging read \
        "resource.type=\"dataflow_step\" AND resource.labels.job_id=\"$1\" AND severity>=WARNING" \
        --limit=50 --freshness=1d "--project=$PROJECT"
}

cancel() {
    [[ $# == 1 ]] || fail "cancel takes the id of a job, which \`watch\` shows"
    act gcloud dataflow jobs cancel "$1" "--region=$REGION" "--project=$PROJECT"
}

clean() {
    local active=(gcloud dataflow jobs list --status=active "--format=value(id)" "--region=$REGION" "--project=$PROJECT")
    if [[ -n $only_print ]]; then
        act "${active[@]}"
    else
        [[ -z $("${active[@]}") ]] || fail "jobs are at work in $REGION, perhaps with these files; \`watch\` shows them"
    fi
    act gcloud storage rm --recursive "$temp" "$staging" "--project=$PROJECT"
}

labels_as_json() {
    local pair pairs=() json=""
    IFS=, read -ra pairs <<<"$LABELS"
    for pair in "${pairs[@]}"; do json+=", \"${pair%%=*}\": \"${pair#*=}\""; done
    printf '{%s}' "${json#, }"
}

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || fail "this is bash $BASH_VERSION; it takes 4.4 or later"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${here%/*}
only_print=""
words=()
for word in "$@"; do
    if [[ $word == --print ]]; then only_print=yes; else words+=("$word"); fi
done
step=${words[0]:-}
arguments=("${words[@]:1}")
case $step in
"" | -h | --help | help)
    usage
    exit 0
    ;;
setup | image | template | run | run-template | watch | cancel | clean) ;;
*) fail "there is no step $step; see dataflow/cloud.sh --help" ;;
esac

for name in PROJECT REGION BUCKET; do
    [[ -n ${!name:-} ]] || fail "$name is not set; see dataflow/cloud.sh --help"
done
PROFILE=${PROFILE:-cpu-small}
REPOSITORY=${REPOSITORY:-audiosieve}
TAG=${TAG:-$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo latest)}
JOB_NAME=${JOB_NAME:-audiosieve-$(date -u +%Y%m%d-%H%M%S)}
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-}
SUBNETWORK=${SUBNETWORK:-}
ZONE=${ZONE:-}
LAUNCHER=${LAUNCHER:-}
LABELS=${LABELS:-app=audiosieve}

target=${PROFILE%%-*}
image=$REGION-docker.pkg.dev/$PROJECT/$REPOSITORY/audiosieve-$target:$TAG
template=gs://$BUCKET/audiosieve/templates/$target-$TAG.json
temp=gs://$BUCKET/audiosieve/temp
staging=gs://$BUCKET/audiosieve/staging

"${step//-/_}" "${arguments[@]}"
