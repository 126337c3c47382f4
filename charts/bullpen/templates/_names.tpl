{{/* The name of the ServiceAccount, the Deployment and the lease. */}}
{{- define "bullpen.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of objects without a namespace. Several releases of mode ReleaseNamespace may have one name. */}}
{{- define "bullpen.clusterName" -}}
{{- if eq .Values.scope.mode "ReleaseNamespace" -}}
{{- printf "%s-%s" .Release.Namespace (include "bullpen.fullname" .) -}}
{{- else -}}
{{- include "bullpen.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "bullpen.serviceAccountName" -}}
{{- default (include "bullpen.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "bullpen.leaseName" -}}
{{- default (include "bullpen.fullname" .) .Values.lease.name -}}
{{- end -}}

{{- define "bullpen.simcloudName" -}}
{{- printf "%s-simcloud" (include "bullpen.fullname" .) -}}
{{- end -}}

{{- define "bullpen.simcloudEndpoint" -}}
{{- printf "http://%s.%s.svc:7070" (include "bullpen.simcloudName" .) .Release.Namespace -}}
{{- end -}}

{{/* The endpoints of simulated clouds that launch configs may name. */}}
{{- define "bullpen.simulatedEndpoints" -}}
{{- $own := ternary (list (include "bullpen.simcloudEndpoint" .)) list .Values.simcloud.enabled -}}
{{- concat $own .Values.simulatedEndpoints | join "," -}}
{{- end -}}

{{/* Labels of an object: (list context component). */}}
{{- define "bullpen.labels" -}}
{{- $context := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: bullpen
{{ include "bullpen.selectorLabels" . }}
{{- with $context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Selector labels of pods, which never change: (list context component). */}}
{{- define "bullpen.selectorLabels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ default $context.Chart.Name $context.Values.nameOverride }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* An image: (list context image). */}}
{{- define "bullpen.image" -}}
{{- $context := index . 0 -}}
{{- with index . 1 -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $context.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The served namespaces, separated by commas; empty: all. */}}
{{- define "bullpen.watchedNamespaces" -}}
{{- if eq .Values.scope.mode "Namespaces" -}}
{{- join "," .Values.scope.namespaces -}}
{{- else if eq .Values.scope.mode "ReleaseNamespace" -}}
{{- .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* The securityContext of all containers: not root, without capabilities, with a read-only file system. */}}
{{- define "bullpen.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "bullpen.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* DNS and the API server, for the values of networkPolicy.egress. */}}
{{- define "bullpen.apiServerEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- ports:
    {{- range .apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .apiServerTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
