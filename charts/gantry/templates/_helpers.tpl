{{- define "gantry.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Release gantry makes gantry-operator, the name in deploy/. */}}
{{- define "gantry.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "gantry.name" .) .Release.Name -}}
{{- printf "%s-operator" (.Release.Name | trunc 54 | trimSuffix "-") -}}
{{- else -}}
{{- printf "%s-operator" (printf "%s-%s" .Release.Name (include "gantry.name" .) | trunc 54 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* Name of what is not in the release's namespace: two releases of one name must not share it. */}}
{{- define "gantry.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "gantry.fullname" .) -}}
{{- end -}}

{{- define "gantry.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gantry.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gantry.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gantry.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "gantry.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "gantry.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: gantry
{{- with omit .Values.customLabels "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/part-of" "helm.sh/chart" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gantry.image" -}}
{{- $tag := default (printf "v%s" .Chart.AppVersion) .Values.image.tag -}}
{{- if .Values.image.ignoreTag -}}
{{- .Values.image.repository -}}
{{- else if .Values.image.digest -}}
{{- if .Values.image.tag -}}
{{- printf "%s:%s@%s" .Values.image.repository .Values.image.tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- end -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "gantry.pullSecrets" -}}
{{- range .Values.imagePullSecrets }}
- name: {{ if kindIs "string" . }}{{ . | quote }}{{ else }}{{ .name | quote }}{{ end }}
{{- end }}
{{- end -}}

{{- define "gantry.metricsPort" -}}{{ default 8080 .Values.metrics.port | int }}{{- end -}}
{{- define "gantry.probePort" -}}{{ default 8081 .Values.readiness.port | int }}{{- end -}}

{{/* A package as the value of a flag: the reference, or JSON. */}}
{{- define "gantry.package" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{- define "gantry.args" -}}
- --namespace=$(POD_NAMESPACE)
- --service-account=$(POD_SERVICE_ACCOUNT)
- --leader-election={{ .Values.leaderElection }}
- --xpkg-cache-dir=/cache/xpkg
- {{ printf "--cache-size=%s" .Values.packageCache.size | quote }}
- --crds={{ .Values.crds }}
- --metrics-bind-address={{ if .Values.metrics.enabled }}{{ else }}127.0.0.1{{ end }}:{{ include "gantry.metricsPort" . }}
- --health-probe-bind-address=:{{ include "gantry.probePort" . }}
{{- range .Values.besideCrossplane.namespaces }}
- {{ printf "--reference-namespace=%s" . | quote }}
{{- end }}
{{- range .Values.besideCrossplane.serviceAccounts }}
- {{ printf "--reference-service-account=%s" . | quote }}
{{- end }}
{{- with .Values.packageRuntime }}
- {{ printf "--package-runtime=%s" . | quote }}
{{- end }}
{{- if .Values.debug }}
- --debug
{{- end }}
{{- range .Values.provider.packages }}
- {{ printf "--provider=%s" (include "gantry.package" .) | replace "$" "$$" | quote }}
{{- end }}
{{- range .Values.configuration.packages }}
- {{ printf "--configuration=%s" (include "gantry.package" .) | replace "$" "$$" | quote }}
{{- end }}
{{- range .Values.function.packages }}
- {{ printf "--function=%s" (include "gantry.package" .) | replace "$" "$$" | quote }}
{{- end }}
{{- range .Values.args }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What one can't say in a schema. */}}
{{- define "gantry.check" -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor.enabled needs metrics.enabled" -}}
{{- end -}}
{{- if and .Values.metrics.podMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.podMonitor.enabled needs metrics.enabled" -}}
{{- end -}}
{{- if and (not .Values.leaderElection) (gt (int .Values.replicas) 1) -}}
{{- fail "leaderElection: false needs replicas: 1, or several operators write at once" -}}
{{- end -}}
{{- if eq (include "gantry.metricsPort" .) (include "gantry.probePort" .) -}}
{{- fail "metrics.port and readiness.port must differ" -}}
{{- end -}}
{{- if and (not (kindIs "invalid" .Values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable exclude each other" -}}
{{- end -}}
{{- end -}}
