#!/usr/bin/env bash
# Builds the image, then starts, watches and cancels jobs on Dataflow. Prints each command before it runs it.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: dataflow/cloud.sh STEP [arguments] [--print]

once:
  setup                            enable the services; create the bucket and the image repository; grant the accounts of
                                   Cloud Build and of the workers their roles. It can be run again
  image                            build the image with Cloud Build and push it; with --docker, build it on this machine
  template                         create the Flex Template from the image

for each run:
  run INPUT OUTPUT [options]       start `audiosieve score` on Dataflow from this machine; run it again to continue
  run-template INPUT OUTPUT [options]    start the same job from the template; needs only gcloud on this machine

during and after a run:
  watch [JOB]                      list the active jobs; with JOB, show its state, metrics and warnings
  cancel JOB                       cancel a job; a cancelled job has committed nothing
  clean                            delete temporary files; refused while a job is active

--print prints the commands without running them. `run` and `run-template` accept the options of `audiosieve score` and
of Beam.

settings (environment variables) and defaults:
  PROJECT, REGION, BUCKET          required; BUCKET without gs://
  PROFILE          cpu-small       size of the workers, a file in dataflow/profiles: cpu-small, cpu-large, gpu-l4
  REPOSITORY       audiosieve      repository in Artifact Registry
  TAG              git commit      tag of the image and the template
  JOB_NAME         audiosieve-...  name of the job; the default ends with the time
  SERVICE_ACCOUNT                  account that the workers run as
  SUBNETWORK                       subnetwork of the workers, regions/REGION/subnetworks/NAME; turns public addresses off
  ZONE                             zone of the workers; needed for GPUs, which not every zone has
  LAUNCHER         n1-standard-1   machine that starts a template's job and lists the corpus: 1 GB per million files
  LABELS           app=audiosieve  labels of the job: KEY=VALUE,KEY=VALUE
  LAUNCHER_TAG     latest          tag of Google's launcher image, from which `image` copies the launcher
TEXT
}

fail() {
    printf 'dataflow/cloud.sh: %s\n' "$1" >&2
    exit 2
}

# Prints a command, quoted for a shell, and runs it unless --print was given.
act() {
    local word line=""
    for word in "$@"; do
        # Leave words without special characters unquoted.
        if [[ $word =~ ^[A-Za-z0-9_./:=@,+^-]+$ ]]; then line+=" $word"; else line+=" $(quoted "$word")"; fi
    done
    printf '%s\n' "${line# }"
    if [[ -z $only_print ]]; then "$@"; fi
}

quoted() {
    printf "'%s'" "${1//\'/\'\\\'\'}"
}

# Prints the options of the profile, one per line.
profile() {
    local file="$here/profiles/$PROFILE.options"
    [[ -f $file ]] || fail "unknown profile $PROFILE; choose one of $(cd "$here/profiles" && echo *.options | sed 's/\.options//g')"
    grep '^--' "$file"
}

setup() {
    act gcloud services enable dataflow.googleapis.com artifactregistry.googleapis.com cloudbuild.googleapis.com \
        storage.googleapis.com "--project=$PROJECT"
    exists gcloud storage buckets describe "gs://$BUCKET" "--project=$PROJECT" ||
        act gcloud storage buckets create "gs://$BUCKET" "--location=$REGION" --uniform-bucket-level-access \
            "--project=$PROJECT"
    exists gcloud artifacts repositories describe "$REPOSITORY" "--location=$REGION" "--project=$PROJECT" ||
        act gcloud artifacts repositories create "$REPOSITORY" --repository-format=docker "--location=$REGION" \
            "--project=$PROJECT"
    grant_roles
}

# Returns whether a resource exists. With --print, none does.
exists() {
    [[ -z $only_print ]] && "$@" >/dev/null 2>&1
}

# Grants roles that new organizations do not grant to default service accounts: Cloud Build must read the source, write logs
# and push the image; workers must read the image and use the bucket.
grant_roles() {
    local describe=(gcloud projects describe "$PROJECT" "--format=value(projectNumber)")
    local default=(gcloud builds get-default-service-account "--format=value(serviceAccountEmail)" "--project=$PROJECT")
    local number=PROJECT_NUMBER builder=BUILD_ACCOUNT workers role
    if [[ -n $only_print ]]; then
        act "${describe[@]}"
        act "${default[@]}"
    else
        number=$("${describe[@]}")
        builder=$("${default[@]}")
        # It has the form projects/PROJECT/serviceAccounts/ACCOUNT.
        builder=${builder##*/}
        [[ -n $number ]] || fail "the project $PROJECT has no number; check PROJECT"
    fi
    workers=${SERVICE_ACCOUNT:-$number-compute@developer.gserviceaccount.com}
    # Without a default account, builds need an account of yours in any case.
    [[ -z $builder ]] || grant "$builder" roles/cloudbuild.builds.builder
    # The viewer's role shows whether the job of an earlier run has ended.
    for role in dataflow.worker dataflow.viewer artifactregistry.reader; do grant "$workers" "roles/$role"; done
    act gcloud storage buckets add-iam-policy-binding "gs://$BUCKET" "--member=serviceAccount:$workers" \
        --role=roles/storage.objectAdmin "--project=$PROJECT"
}

# Grants an account a role on the project. Without --condition, gcloud asks for one if the project has conditional bindings.
grant() {
    act gcloud projects add-iam-policy-binding "$PROJECT" "--member=serviceAccount:$1" "--role=$2" --condition=None
}

image() {
    if [[ ${1:-} == --docker ]]; then
        local options=("--file=$here/Dockerfile" "--target=$target" "--tag=$image")
        [[ -z $LAUNCHER_TAG ]] || options+=("--build-arg=LAUNCHER_TAG=$LAUNCHER_TAG")
        act docker build "${options[@]}" "$root"
        act docker push "$image"
    else
        [[ $# == 0 ]] || fail "image accepts only --docker, not $*"
        local values=_IMAGE=$image,_TARGET=$target
        [[ -z $LAUNCHER_TAG ]] || values+=,_LAUNCHER_TAG=$LAUNCHER_TAG
        act gcloud builds submit "$root" "--config=$here/cloudbuild.yaml" "--substitutions=$values" "--project=$PROJECT"
    fi
}

template() {
    act gcloud dataflow flex-template build "$template" "--image=$image" --sdk-language=PYTHON \
        "--metadata-file=$here/template_metadata.json" "--project=$PROJECT"
}

# Starts `audiosieve score` on Dataflow from this machine.
run() {
    [[ $# -ge 2 ]] || fail "run needs INPUT and OUTPUT"
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

# Starts the same job from the template. Some of Beam's options are flags of gcloud; the others become parameters.
run_template() {
    [[ $# -ge 2 ]] || fail "run-template needs INPUT and OUTPUT"
    local lines flags=() option name value
    local options=("--input=$1" "--output=$2" "--sdk_container_image=$image" --sdk_location=container)
    shift 2
    lines=$(profile)
    mapfile -t -O "${#options[@]}" options <<<"$lines"
    while [[ $# -gt 0 ]]; do
        # Every parameter needs a value: write `--batch_size 8` as `--batch_size=8`, and a flag as `--flag=true`.
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
    # gcloud accepts each parameter once. As on a command line, the last value wins and lists are joined.
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
        # Values contain commas, so separate parameters with ;; instead.
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
    [[ $# == 1 ]] || fail "cancel needs the id of a job; \`watch\` lists them"
    act gcloud dataflow jobs cancel "$1" "--region=$REGION" "--project=$PROJECT"
}

clean() {
    local active=(gcloud dataflow jobs list --status=active "--format=value(id)" "--region=$REGION" "--project=$PROJECT")
    if [[ -n $only_print ]]; then
        act "${active[@]}"
    else
        [[ -z $("${active[@]}") ]] || fail "jobs are active in $REGION and may use these files; \`watch\` lists them"
    fi
    act gcloud storage rm --recursive "$temp" "$staging" "--project=$PROJECT"
}

labels_as_json() {
    local pair pairs=() json=""
    IFS=, read -ra pairs <<<"$LABELS"
    for pair in "${pairs[@]}"; do json+=", \"${pair%%=*}\": \"${pair#*=}\""; done
    printf '{%s}' "${json#, }"
}

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || fail "bash is $BASH_VERSION; must be 4.4 or later"
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
*) fail "unknown step $step; see dataflow/cloud.sh --help" ;;
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
LAUNCHER_TAG=${LAUNCHER_TAG:-}

target=${PROFILE%%-*}
image=$REGION-docker.pkg.dev/$PROJECT/$REPOSITORY/audiosieve-$target:$TAG
template=gs://$BUCKET/audiosieve/templates/$target-$TAG.json
temp=gs://$BUCKET/audiosieve/temp
staging=gs://$BUCKET/audiosieve/staging

"${step//-/_}" "${arguments[@]}"
